"""How does a restored state become a directory from which `Trainer.train()` resumes?

File by file as the Trainer saves them, so that it loads them by its own code; and that none is left behind. Must not
know where the state came from.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from checkpointheal.trainer.streams import python_position


@dataclass(frozen=True)
class Restored:
    """All that one rank holds of a step. Empty parts are left out."""

    step: int
    model: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    scaler: Mapping[str, Any]
    state: str
    """`trainer_state.json`; empty where this rank has none of its own."""
    streams: Mapping[str, Any] | None


def new(place: str) -> Path:
    """An empty folder in TMPDIR, for whoever has this place in the job."""
    return Path(tempfile.mkdtemp(prefix=_prefix(place)))


def clear(place: str) -> None:
    """Remove what processes of this place have left there, killed before their first step: a whole state each."""
    for left in Path(tempfile.gettempdir()).glob(f"{_prefix(place)}*"):
        shutil.rmtree(left, ignore_errors=True)


def _prefix(place: str) -> str:
    """Others may share TMPDIR, and find their own place by it alone."""
    return f"checkpointheal-{hashlib.sha256(place.encode()).hexdigest()[:16]}-"


def write(restored: Restored, folder: Path, rank: int | None) -> None:
    """Write it. `rank` is None where there is one process."""
    torch.save(dict(restored.model), folder / "pytorch_model.bin")
    parts = {"optimizer.pt": restored.optimizer, "scheduler.pt": restored.scheduler, "scaler.pt": restored.scaler}
    for name, part in parts.items():
        if part:
            torch.save(part, folder / name)
    if restored.streams is not None:
        name = "rng_state.pth" if rank is None else f"rng_state_{rank}.pth"
        torch.save(_streams(restored.streams, only_one=rank is None), folder / name)
    (folder / "trainer_state.json").write_text(restored.state or json.dumps({"global_step": restored.step}))


def _streams(ours: Mapping[str, Any], *, only_one: bool) -> dict[str, Any]:
    theirs = {"python": python_position(ours["python"]), "numpy": ours["numpy"], "cpu": ours["torch"]}
    if "cuda" in ours:
        theirs["cuda"] = ours["cuda"][torch.cuda.current_device()] if only_one else ours["cuda"]
    return theirs
