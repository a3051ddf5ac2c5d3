"""What does a collective of a stable group hand back, so that a loss is noted instead of raised?

C++ waits for it as well as Python, and keeps it for longer than Python does. Must not know groups or epochs.
"""

from datetime import timedelta
from typing import Any

import torch
from torch.distributed.distributed_c10d import Work

from checkpointheal.trainer.faults import Faults

KEEPS_ITS_PYTHON = torch.__version__ >= "2.15"
"""Whether work that is written in Python is still that once only C++ holds it.

Seen of 2.15. Under 2.6 the Python half of what was returned to C++ goes at once, and C++'s own `wait` then waits for
ever; DDP's constructor was the first to.
"""

ASKED_BY_PYTHON = ("recv", "recv_anysource", "send")
"""Alone, which keeps what it got: gloo's have no future to make another work of, nor would that know who sent."""


def finished(result: list[torch.Tensor], faults: Faults, collective: str = "") -> Work:
    """A `Finished` that C++ may keep."""
    return _for_cpp(Finished(result, faults), collective)


def lenient(inner: Work, result: list[torch.Tensor], faults: Faults, collective: str = "") -> Work:
    """A `Lenient` that C++ may keep."""
    return _for_cpp(Lenient(inner, result, faults), collective)


class Finished(Work):
    """Work that is over: as done as it will ever be."""

    def __init__(self, result: list[torch.Tensor], faults: Faults) -> None:
        super().__init__()
        self._result, self._faults = result, faults
        self._future: torch.futures.Future[list[torch.Tensor]] = torch.futures.Future()
        self._future.set_result(result)

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Nothing is left to wait for. Raises EpochOver in a later epoch."""
        self._faults.require_of_now()
        return True

    def is_completed(self) -> bool:
        """It is."""
        return True

    def is_success(self) -> bool:
        """As `wait` has it."""
        return True

    def exception(self) -> None:
        """What was lost was noted."""

    def result(self) -> list[torch.Tensor]:
        """The tensors as they are."""
        return self._result

    def get_future(self) -> "torch.futures.Future[list[torch.Tensor]]":
        """The same."""
        return self._future

    def _source_rank(self) -> int:
        """Who sent it: nobody did, and torch wants a rank."""
        return 0


class Lenient(Work):
    """Work of the inner group whose failure is noted instead of raised."""

    def __init__(self, inner: Work, result: list[torch.Tensor], faults: Faults) -> None:
        super().__init__()
        self._inner, self._result, self._faults = inner, result, faults

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Returns when the inner work is over, however it ended; NCCL's, when the device will wait for it.

        Raises what torch's own does where a time that was given is over before the work is, and EpochOver in a later
        epoch.
        """
        self._faults.require_of_now()
        self._faults.queue(self._result)  # one of an earlier step comes to be used in this one
        try:
            self._inner.wait(*(() if timeout is None else (timeout,)))
        except RuntimeError as error:
            if timeout and not self._inner.is_completed() and not self._faults.is_lost:
                raise  # nobody is lost: the caller may wait again
            self._faults.note(error)
        return True

    def is_completed(self) -> bool:
        """Whether the inner work is over, however it ended."""
        return self._inner.is_completed() and self.wait()

    def is_success(self) -> bool:
        """The same: a loss is noted."""
        return self.is_completed()

    def exception(self) -> None:
        """What was lost was noted."""

    def result(self) -> list[torch.Tensor]:
        """The tensors as they are."""
        return self._result

    def _source_rank(self) -> int:
        """Who sent what any rank might have."""
        try:
            return int(self._inner._source_rank())  # noqa: SLF001 torch asks it of the work that a group returns
        except RuntimeError:
            return 0  # it was lost

    def get_future(self) -> "torch.futures.Future[list[torch.Tensor]]":
        """Resolves to the tensors as they are, however the inner work ended."""
        return self._inner.get_future().then(self._settle)

    def _settle(self, done: "torch.futures.Future[Any]") -> list[torch.Tensor]:
        try:
            done.value()
        except RuntimeError as error:
            self._faults.note(error)
        return self._result


def _for_cpp(work: Work, collective: str) -> Work:
    """The same as what C++ can keep by itself, where C++ may have asked for it."""
    if KEEPS_ITS_PYTHON or collective in ASKED_BY_PYTHON:
        return work
    from torch._C._distributed_c10d import _create_work_from_future  # noqa: PLC0415 a newer torch may do without

    return _create_work_from_future(work.get_future())
