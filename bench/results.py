"""Where are figures kept for the page that shows them? One JSON file a bench, with the machine that gave them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.machine import machine
from bench.table import Row

FOLDER = Path(__file__).parent / "results"


def keep(name: str, title: str, rows: Sequence[Row], loads: tuple[str, str]) -> None:
    """In place of the ones before."""
    FOLDER.mkdir(exist_ok=True)
    said = {"title": title, "machine": machine(), "load before": loads[0], "load after": loads[1]}
    body = said | {"rows": [row._asdict() | {"value": float(f"{row.value:.4g}")} for row in rows]}
    (FOLDER / f"{name}.json").write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n")


def kept() -> dict[str, dict[str, Any]]:
    """All of them, by name."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}
