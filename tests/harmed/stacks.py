"""Which examples there are, how each is started, and at which points of its own it can be killed.

Must not know what is done to them.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.lighthouse import lighthouse

import builders_adapters
from checkpointheal.contract.identity import MemberId


def steps(count: int) -> str:
    return f"--steps {count} --pause 0"


def epochs(count: int) -> str:
    """Of four updates each."""
    return f"--epochs {-(-count // 4)} --pause 0"


@contextlib.contextmanager
def nothing(_world: int, _log: Path) -> Iterator[dict[str, str]]:
    yield {}


@contextlib.contextmanager
def managers_meet(world: int, log: Path) -> Iterator[dict[str, str]]:
    with lighthouse(log, min_replicas=world, join_timeout_ms=1000, heartbeat_timeout_ms=2000) as address:
        yield {"TORCHFT_LIGHTHOUSE": address}


@dataclass(frozen=True)
class Stack:
    """One example. `back`: the most completed updates that a survivor may go back by; None: its process ends too."""

    name: str
    program: str
    points: tuple[str, ...]
    replicas: int = 3
    ranks: int = 1
    words: Callable[[int], str] = steps
    beside: Callable[[int, Path], AbstractContextManager[dict[str, str]]] = nothing
    by_torchrun: bool = False
    back: int | None = None

    @property
    def world(self) -> int:
        return self.replicas * self.ranks

    def member(self, rank: int) -> MemberId:
        """Whose place a rank holds."""
        return MemberId(replica=rank // self.ranks, rank=rank % self.ranks)

    @property
    def command(self) -> tuple[str, ...]:
        """Of one pod."""
        if self.by_torchrun:
            return builders_adapters.by_torchrun(self.program)
        return ("python", str(builders_adapters.PROGRAMS / self.program))


TRAIN = ("step", "forward", "backward", "optimizer step", "before commit", "committed")
TRANSFORMERS = ("first micro-batch", "second micro-batch", "updated", "logged", "epoch", "saved")
LIGHTNING = ("batch", "second batch", "backward", "epoch", "validation")

LEVEL2 = ("step", "forward", "backward", "updated")

STACKS = (
    Stack("train", "program_train.py", TRAIN),
    Stack("parts", "program_parts.py", ("step", "updated")),
    Stack("fsdp2", "program_fsdp2.py", ("step", "updated"), replicas=2, ranks=2),
    Stack("torchrun_ddp", "program_torchrun.py", ("step", "updated"), by_torchrun=True),
    Stack("transformers_trainer", "program_transformers.py", TRANSFORMERS),
    Stack("lightning_trainer", "program_lightning.py", LIGHTNING, words=epochs),
    Stack("level2_ddp", "program_level2.py", LEVEL2, back=1),
    Stack("level2_hsdp", "program_level2_hsdp.py", LEVEL2, replicas=2, ranks=2, back=1),
    Stack("torchft_ddp", "program_torchft.py", (), beside=managers_meet, back=0),
)

ON_PODS = ("level2_ddp", "level2_hsdp")
"""What is harmed on a cluster unless others are asked for; those beside which something else must run cannot be."""
