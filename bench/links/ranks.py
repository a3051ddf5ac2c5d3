"""What does one rank do? It gives the state, or takes it and passes it on, by the library's door.

It tells when it had it, what it is, what it sent, and how much memory that took. Must not know why.
"""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.distributed import FileStore, ProcessGroupGloo

from bench.counting import Counting
from bench.links.crew import SECONDS, Prepare, Told
from checkpointheal import PGTransport, digest

CPU = torch.device("cpu")
TENSOR_BYTES = digest.CHUNK_BYTES
State = dict[str, torch.Tensor]


class Rank(NamedTuple):
    """One rank of a group, as all of it know it."""

    rank: int
    size: int
    folder: Path
    interface: str
    """By which it reaches the others."""
    tensors: int
    """Of one chunk each."""

    def __call__(self) -> Prepare:
        """In its own process."""
        os.environ["GLOO_SOCKET_IFNAME"] = self.interface
        torch.set_num_threads(1)
        return _Acting(self).prepare


def giving(ranks: list[int]) -> Told:
    """The state to these ranks."""
    return {"give": ranks}


def taking(ranks: list[int], pass_to: list[int] | None = None, **options: Any) -> Told:
    """The state from these; `changed`: so many chunks of it are all that lacks here; `new`: into new memory."""
    return {"take": ranks, "pass_to": pass_to or [], **options}


class _Acting:
    def __init__(self, rank: Rank) -> None:
        self._rank = rank
        self._group = Counting(_group(rank))
        self._given: State | None = None
        self._target: State | None = None

    def prepare(self, told: Told) -> Callable[[], Told]:
        act = self._giving(told["give"]) if "give" in told else self._taking(told)

        def do() -> Told:
            sent, lies, spent = self._group.sent, Memory(), time.process_time()
            state = act()
            found = {"ended": time.monotonic(), "processor": time.process_time() - spent}
            found |= {"sent": self._group.sent - sent, "memory": lies.most_above(), "holds": fingerprint(state)}
            return found

        return do

    def _giving(self, ranks: list[int]) -> Callable[[], State]:
        state = self._given = self._given or a_state(self._rank.tensors)

        def give() -> State:
            self._door(None).send_checkpoint(ranks, state)
            return state

        return give

    def _taking(self, told: Told) -> Callable[[], State]:
        target = None if told.get("new") else self._made(told.get("changed"))
        delta = told.get("changed") is not None

        def take() -> State:
            door = self._door(target)
            came: State = door.recv_checkpoint(told["take"], delta=delta, relay_to=told["pass_to"])
            if door.unreached:
                raise RuntimeError(f"rank {self._rank.rank} passed it on in vain: {door.unreached}")
            return came

        return take

    def _made(self, changed: int | None) -> State:
        """The target: touched memory, in which everything lacks, or so many chunks do."""
        target = self._target = self._target or {name: torch.ones_like(each) for name, each in self._like().items()}
        for tensor in list(target.values())[:changed]:
            tensor.zero_()
        return target

    def _like(self) -> State:
        return {str(number): torch.empty(TENSOR_BYTES, dtype=torch.uint8) for number in range(self._rank.tensors)}

    def _door(self, target: State | None) -> PGTransport:
        live = None if target is None else (lambda: target)
        return PGTransport(self._group, timedelta(seconds=SECONDS), CPU, live)  # type: ignore[arg-type] of its methods


class Memory:
    """How much is resident now, and how much was at most since."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
        self._before = _resident("VmRSS")

    def most_above(self) -> int:
        """In bytes."""
        return max(0, _resident("VmHWM") - self._before)


def _resident(name: str) -> int:
    told = Path("/proc/self/status").read_text().partition(f"{name}:")[2]
    return int(told.split()[0]) << 10


def a_state(tensors: int) -> State:
    """The same, whoever makes it."""
    torch.manual_seed(0)
    return {str(each): torch.randint(0, 256, (TENSOR_BYTES,), dtype=torch.uint8) for each in range(tensors)}


def fingerprint(state: State) -> str:
    """Of every byte."""
    return digest.digest_bytes("".join(digest.digest_bytes(each.numpy().data) for each in state.values()).encode())


def _group(rank: Rank) -> ProcessGroupGloo:
    options = ProcessGroupGloo._Options()  # noqa: SLF001 torch gives no other way to bind gloo to an interface
    options._devices = [ProcessGroupGloo.create_device(interface=rank.interface)]  # noqa: SLF001
    options._timeout = timedelta(seconds=SECONDS)  # noqa: SLF001
    return ProcessGroupGloo(FileStore(str(rank.folder / "store"), rank.size), rank.rank, rank.size, options)
