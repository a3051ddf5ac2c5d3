"""The member's side of epochs: what `attach`, `commit`, `epochs()` and `with epoch` have to do on level 2.

Announces what is held, waits for the word, goes back, meets the others. One store stands for agent, operator and
buddies. Knows neither the model's shape nor who wraps it.
"""

import argparse
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Self

import torch
import torch.distributed as dist
from kept import Kept
from stable_group import Faults, StableGroups

WAIT = timedelta(seconds=90)
CAUSE_GRACE = 10.0
"""Seconds that an error waits for the word that its epoch is over."""
PRESS_EVERY = 0.1
"""Seconds between two looks for connections to shut down: ranks connect late."""


class EpochOver(Exception):
    """A collective of this epoch was lost, so its gradients are worth nothing."""


class Epoch:
    """One membership. As a context it takes an error for its own only where the word says that it is over."""

    def __init__(self, number: int, step: int) -> None:
        self.number, self.step = number, step
        self.over, self.left = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        own = isinstance(error, Exception) and self.over.wait(CAUSE_GRACE)
        self.left.set()
        if own and error is not None:
            where = traceback.extract_tb(error.__traceback__)[-1].name
            first_line = str(error).partition("\n")[0]
            print(f"epoch {self.number} ended by {type(error).__name__} in {where}: {first_line}", flush=True)
        return own


class Membership:
    """One trainer among the others. `mend` brings the wrapper back to where a new step can begin."""

    def __init__(self, options: argparse.Namespace, faults: Faults, groups: StableGroups) -> None:
        self._rank, self._port = options.rank, options.port
        self._faults, self._groups = faults, groups
        self._store = self._connect(WAIT)
        self._finished = False

    def attach(self, kept: Kept, optimizer: torch.optim.Optimizer, mend: Callable[[], None]) -> None:
        """Protect these; no update is made from gradients of a broken epoch."""
        self._kept, self._mend = kept, mend
        optimizer.register_step_pre_hook(lambda *_: self.may_step())

    def may_step(self) -> None:
        """Raise EpochOver where a collective of this epoch was lost."""
        if self._faults.noted is not None:
            raise EpochOver(str(self._faults.noted).partition("\n")[0])

    def commit(self, step: int) -> None:
        """Keep this step here, and its private part with a buddy."""
        self._kept.commit(step)
        self._store.set(f"private/{self._rank}/{step}", self._kept.private_of(step).numpy().tobytes())
        self._store.set(f"reached/{self._rank}", str(step))

    def epochs(self) -> Iterator[Epoch]:
        """Each membership in turn, until `done`."""
        number = self._store.add("ended", 0)
        while not self._finished:
            number += 1
            yield self._begin(number)
            if not self._finished:
                self._groups.shut()
                self._mend()

    def done(self) -> None:
        """Training is over."""
        self._finished = True

    def _begin(self, number: int) -> Epoch:
        self._store.set(f"{number}/waits/{self._rank}", ",".join(map(str, self._kept.steps)))
        step, *donors = (int(word) for word in self._store.get(f"{number}/begins").decode().split(","))
        epoch = Epoch(number, step)
        self._groups.open(dist.PrefixStore(f"{number}/groups", self._store))
        threading.Thread(target=self._end_when_told, args=(epoch,), daemon=True).start()
        if step in self._kept.steps:
            self._kept.roll_back(step)
        self._hand_over(step, donors)
        return epoch

    def _hand_over(self, step: int, donors: list[int]) -> None:
        """Whoever lacks the step gets the replicated part from a peer, and its own private part from its buddy."""
        for recipient, donor in enumerate(donors):
            if recipient != donor == self._rank:
                for tensor in self._kept.live:
                    dist.send(tensor, recipient)
            elif recipient == self._rank != donor:
                for tensor in self._kept.live:
                    dist.recv(tensor, donor)
        if step > 0 and donors[self._rank] != self._rank:
            private = bytearray(self._store.get(f"private/{self._rank}/{step}"))
            torch.set_rng_state(torch.frombuffer(private, dtype=torch.uint8))
        self._kept.commit(step)

    def _end_when_told(self, epoch: Epoch) -> None:
        self._connect(timedelta(days=1)).wait([f"{epoch.number}/over"])
        epoch.over.set()
        while not epoch.left.wait(PRESS_EVERY):
            self._groups.end(self._port)

    def _connect(self, timeout: timedelta) -> dist.TCPStore:
        """A connection per thread: a client that waits keeps the others of its connection waiting."""
        return dist.TCPStore("127.0.0.1", self._port, is_master=False, timeout=timeout)
