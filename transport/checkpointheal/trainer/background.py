"""What goes on beside the training loop after a commit, and where does the loop wait for it?

In the next `step()` of an optimizer, and not in `commit`. Must not know what it is.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch.optim import Optimizer

from checkpointheal.trainer.updates import before_updates


class Background:
    """One work at a time."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "checkpointheal-commit")
        self._under_way: Future[None] | None = None
        self._pid = os.getpid()
        # Kept for good: of the pool's few streams each new one may be one that the program or its collectives use.
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def hold_up(self, optimizers: Iterable[Optimizer]) -> None:
        """From now on their steps wait for it."""
        before_updates(optimizers, self.wait)

    def start(self, work: Callable[[], None], devices: Iterable[torch.device] = ()) -> None:
        """Run it beside the loop; on a device, behind what the loop has queued there so far.

        What it raises is raised where the loop waits for it.
        """
        self._under_way = self._pool.submit(_beside, work, self._behind(devices))

    def wait(self) -> None:
        """Until what is under way is done, or was given up. A fork has not the thread that would ever be done."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None and os.getpid() == self._pid:
            under_way.result()

    def _behind(self, devices: Iterable[torch.device]) -> list[torch.cuda.Stream]:
        streams = []
        for device in devices:
            if device.type == "cuda":
                if device not in self._streams:
                    self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
                self._streams[device].wait_stream(torch.cuda.current_stream(device))
                streams.append(self._streams[device])
        return streams


def _beside(work: Callable[[], None], streams: Iterable[torch.cuda.Stream]) -> None:
    """Nothing is put back, for the thread is ours; it would make a context on the device 0, where a thread begins."""
    for stream in streams:
        torch.cuda.set_stream(stream)
    work()
