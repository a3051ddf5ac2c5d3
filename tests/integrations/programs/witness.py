"""What a training program lets its test see, and the points at which it is killed. Each kill happens once."""

import contextlib
import importlib.util
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from checkpointheal.demo.reference import _hash as hash_of

ROOT = Path(__file__).parents[3]
FOLDER, RANK = Path(os.environ["WITNESS"]), int(os.environ.get("RANK", "0"))
IS_PLAIN = os.environ.get("PLAIN") == "yes"
KILLS = json.loads(os.environ.get("KILLS", "[]"))


def seed(rank: int) -> None:
    """What an example does not seed would differ from run to run."""
    random.seed(rank)
    np.random.seed(rank)


seed(RANK)


def example(name: str, *words: str) -> ModuleType:
    """The example as a module, which will find these words on its command line."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.argv = [name, *words]
    spec.loader.exec_module(module)
    return module


class WithoutUs:
    """Stands for `checkpointheal` and for a `Heal` in a script that runs as if we were not there."""

    epoch = 0

    def attach(self, **_: Any) -> "WithoutUs":
        return self

    def restore(self) -> None:
        return None

    def agree(self) -> None:
        pass

    def commit(self, step: int) -> bool:
        return True

    def done(self) -> None:
        pass


def run(module: Any) -> None:
    """The example's training, as it stands or as if we were not there."""
    if IS_PLAIN:
        module.checkpointheal = WithoutUs()
    module.main()


def pass_by(point: str, step: int) -> None:
    """Killed here, where a test said so: `step` is the number of updates that were completed before."""
    for number, kill in enumerate(KILLS):
        if (kill["rank"], kill["point"], kill["step"]) == (RANK, point, step):
            with contextlib.suppress(FileExistsError):
                (FOLDER / f"killed-{number}").touch(exist_ok=False)
                os.kill(_keeper() if kill["pod"] else os.getpid(), signal.SIGKILL)
                time.sleep(60)


def _keeper() -> int:
    """The process above us whose end is the pod's end."""
    pid = os.getpid()
    while b"keeper.py" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


def consumed(step: int, *batch: Any) -> None:
    """This micro-batch is computed now, on the way to the update after `step`."""
    tell({"step": step, "batch": hash_of(batch)[:16]})


def tell(facts: dict[str, Any]) -> None:
    """One line."""
    with (FOLDER / f"told-{RANK}.jsonl").open("a") as file:
        file.write(json.dumps({"pid": os.getpid(), **facts}) + "\n")


def end(**parts: Any) -> None:
    """The fingerprint of each part, and of the random streams."""
    streams = {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": np.random.get_state()}
    told = {name: hash_of(part) for name, part in (parts | streams).items()}
    (FOLDER / f"end-{RANK}.json").write_text(json.dumps(told))
