"""What a training program lets its test see, and the points at which it is killed. Each kill happens once.

A test names its kills before the program starts (`WITNESS_KILLS`), or arms one while it runs (`armed-RANK.json`).
"""

import contextlib
import importlib.util
import json
import os
import random
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from checkpointheal.demo import reference
from checkpointheal.demo.reference import _hash as hash_of

ROOT = Path(__file__).parents[3]
FOLDER = Path(os.environ["WITNESS"])
RANK = int(os.environ.get("PLACE", os.environ.get("RANK", "0")))
"""The place of the pod: torchrun may give its process another rank."""
IS_PLAIN = os.environ.get("PLAIN") == "yes"
KILLS = json.loads(os.environ.get("WITNESS_KILLS", "[]"))
WORDS = shlex.split(os.environ.get("WITNESS_WORDS", ""))
"""More of the example's command line: the last word counts."""
PACE = float(os.environ.get("WITNESS_PACE", "0"))
"""Seconds that each micro-batch takes longer, until a file `hurry` is there."""
LIFE = f"{os.getpid()} since {Path('/proc/self/stat').read_text().rpartition(')')[2].split()[19]}"
"""Of this process: in another pod, another one has the same number."""
ARMED = FOLDER / f"armed-{RANK}.json"
turns = [0]
"""How often this process went back and computed an update again."""


def seed(rank: int) -> None:
    """What an example does not seed would differ from run to run."""
    random.seed(rank)
    np.random.seed(rank)
    torch.manual_seed(rank)


seed(RANK)
reference.tell(FOLDER, RANK, event="process", life=LIFE)


def example(name: str, *words: str) -> ModuleType:
    """The example as a module, which will find these words on its command line."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.argv = [name, *words, *WORDS]
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

    def process_group(self) -> None:
        dist.init_process_group("gloo")

    def epochs(self) -> "Iterator[Whole]":
        yield Whole()


class Whole(contextlib.nullcontext[None]):
    """The one epoch of a training to which nothing happens."""

    number, step = 1, 0


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
    if ARMED.exists() and (armed := json.loads(ARMED.read_text()))["point"] == point:
        ARMED.unlink()
        reference.tell(FOLDER, RANK, event="struck", life=LIFE)
        os.kill(os.getpid(), armed["signal"])


def _keeper() -> int:
    """The process above us whose end is the pod's end."""
    pid = os.getpid()
    while b"keeper.py" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


def consumed(step: int, *batch: Any) -> None:
    """This micro-batch is computed now, on the way to the update after `step`."""
    with (FOLDER / f"told-{RANK}.jsonl").open("a") as file:
        said = {"at": time.time(), "life": LIFE, "turn": turns[0], "step": step, "batch": hash_of(batch)[:16]}
        file.write(json.dumps(said) + "\n")
    if not (FOLDER / "hurry").exists():
        time.sleep(PACE)


def updated(count: int) -> None:
    """So many updates are made."""
    reference.tell(FOLDER, RANK, event="step", step=count, life=LIFE)


def local(node: Any) -> Any:
    """A state dict with this rank's part of each tensor."""
    if isinstance(node, DTensor):
        return node.to_local()
    if isinstance(node, dict):
        return {key: local(value) for key, value in node.items()}
    return [local(each) for each in node] if isinstance(node, list) else node


def end(**parts: Any) -> None:
    """The fingerprint of each part, and of the random streams."""
    streams = {"torch": torch.get_rng_state(), "python": random.getstate(), "numpy": np.random.get_state()}
    told = {name: hash_of(part) for name, part in (parts | streams).items()}
    (FOLDER / f"end-{RANK}.json").write_text(json.dumps(told))
    if os.environ.get("STAY"):
        signal.pause()
