"""What importing a room brings into memory, in a fresh interpreter. The rooms are what lies in the folders."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRANSPORT, OPERATOR = ROOT / "transport", ROOT / "operator"


def modules_under(source_root: Path, room: str) -> list[str]:
    """Dotted names of the modules that make up `room`, be it one file or a package; of the library's door, itself."""
    if room == "checkpointheal":
        return [room]
    place = source_root / room.replace(".", "/")
    paths = [*place.rglob("*.py"), *([place.with_suffix(".py")] if place.with_suffix(".py").exists() else [])]
    names = (path.relative_to(source_root).with_suffix("").as_posix().replace("/", ".") for path in paths)
    return sorted(name.removesuffix(".__init__") for name in names if not name.endswith("__main__"))


CLUSTER = frozenset({"kopf", "kubernetes"})
WEIGHT = frozenset({"torch", "numpy", "aiohttp", "cryptography"})
ROOMS = {
    "checkpointheal": (TRANSPORT, WEIGHT | CLUSTER | {"pydantic"}),
    "checkpointheal.contract": (TRANSPORT, WEIGHT | CLUSTER),
    "checkpointheal.errors": (TRANSPORT, WEIGHT | CLUSTER),
    "checkpointheal.cli": (TRANSPORT, WEIGHT | CLUSTER | {"pydantic"}),
    "checkpointheal.run": (TRANSPORT, WEIGHT | CLUSTER | {"asyncio"}),
    "checkpointheal.arena": (TRANSPORT, WEIGHT | CLUSTER),
    "checkpointheal.wire": (TRANSPORT, WEIGHT | CLUSTER),
    "checkpointheal.session": (TRANSPORT, WEIGHT | CLUSTER),
    "checkpointheal_operator.core": (OPERATOR, WEIGHT | CLUSTER),
    "checkpointheal_operator.api": (OPERATOR, WEIGHT | CLUSTER),
    "checkpointheal_operator.shell": (OPERATOR, {"torch", "numpy"}),
    "checkpointheal_operator.local.pods": (OPERATOR, {"torch"} | CLUSTER),
}
PRESENT = {room: modules for room, (source_root, _) in ROOMS.items() if (modules := modules_under(source_root, room))}


def brought_by(modules: list[str]) -> set[str]:
    """Top-level names in memory after importing all of `modules`."""
    program = f"import json, sys, {', '.join(modules)}; print(json.dumps([n.partition('.')[0] for n in sys.modules]))"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/"
    ).stdout
    return set(json.loads(printed))


@pytest.mark.parametrize("room", PRESENT)
def test_a_room_brings_nothing_that_it_must_not(room: str) -> None:
    _, forbidden = ROOMS[room]
    assert not brought_by(PRESENT[room]) & forbidden


def test_the_probe_sees_what_an_import_brings() -> None:
    assert "pydantic" in brought_by(["checkpointheal.contract.base"])


def test_every_public_name_of_the_library_resolves() -> None:
    program = "import checkpointheal; [getattr(checkpointheal, name) for name in checkpointheal.__all__]"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, cwd="/")
