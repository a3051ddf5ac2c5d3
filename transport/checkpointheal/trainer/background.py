"""How is a part of a state copied while the training loop goes on, and where does the loop wait for it?

In the next `step()` of an optimizer, and not in `commit`. Must not know what is copied, nor where it goes.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from checkpointheal.trainer.parts import Parts


class Background:
    """One copy at a time beside the training loop."""

    def __init__(self, parts: Parts) -> None:
        self._pool = ThreadPoolExecutor(1, "checkpointheal-copy")
        self._under_way: Future[None] | None = None
        for optimizer in parts.optimizers.values():
            optimizer.register_step_pre_hook(lambda *_: self.wait())

    def start(self, copy: Callable[[], None], devices: Iterable[torch.device]) -> None:
        """Run it beside the loop; on a device, behind what the loop has queued there so far.

        What it raises is raised where the loop waits for it.
        """
        self._under_way = self._pool.submit(_beside, copy, list(_streams(devices)))

    def wait(self) -> None:
        """Until the copy under way is whole, or was given up."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()


def _streams(devices: Iterable[torch.device]) -> Iterator[torch.cuda.Stream]:
    for device in devices:
        if device.type == "cuda":
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream(device))
            yield stream


def _beside(copy: Callable[[], None], streams: Iterable[torch.cuda.Stream]) -> None:
    with contextlib.ExitStack() as stack:
        for stream in streams:
            stack.enter_context(torch.cuda.stream(stream))
        copy()
