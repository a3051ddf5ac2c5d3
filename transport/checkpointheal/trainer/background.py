"""What goes on beside the training loop after a commit, and where does the loop wait for it?

In the next `step()` of an optimizer, and not in `commit`. Must not know what it is.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch.optim import Optimizer


class Background:
    """One work at a time."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "checkpointheal-commit")
        self._under_way: Future[None] | None = None

    def hold_up(self, optimizers: Iterable[Optimizer]) -> None:
        """From now on their steps wait for it."""
        for optimizer in optimizers:
            optimizer.register_step_pre_hook(lambda *_: self.wait())

    def start(self, work: Callable[[], None], devices: Iterable[torch.device] = ()) -> None:
        """Run it beside the loop; on a device, behind what the loop has queued there so far.

        What it raises is raised where the loop waits for it.
        """
        self._under_way = self._pool.submit(_beside, work, list(_streams(devices)))

    def wait(self) -> None:
        """Until what is under way is done, or was given up."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()


def _streams(devices: Iterable[torch.device]) -> Iterator[torch.cuda.Stream]:
    for device in devices:
        if device.type == "cuda":
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream(device))
            yield stream


def _beside(work: Callable[[], None], streams: Iterable[torch.cuda.Stream]) -> None:
    with contextlib.ExitStack() as stack:
        for stream in streams:
            stack.enter_context(torch.cuda.stream(stream))
        work()
