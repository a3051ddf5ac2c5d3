"""What goes on beside the training loop after a commit, and where does the loop wait for it?

In the next `step()` of an optimizer, and not in `commit`. Must not know what it is.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import SimpleQueue

import torch
from torch.optim import Optimizer

Work = Callable[[], None]


class Background:
    """One work at a time. The steps of these optimizers wait for it."""

    def __init__(self, optimizers: Iterable[Optimizer]) -> None:
        self._todo: SimpleQueue[Work] = SimpleQueue()
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self._is_under_way = False
        self._thread: threading.Thread | None = None
        for optimizer in optimizers:
            optimizer.register_step_pre_hook(lambda *_: self.wait())

    def start(self, work: Work, devices: Iterable[torch.device] = ()) -> None:
        """Run it beside the loop; on a device, behind what the loop has queued there so far.

        What it raises is raised where the loop waits for it.
        """
        if self._thread is None:  # a pool takes several times as long to be told of a work
            self._thread = threading.Thread(target=self._work, name="checkpointheal-commit", daemon=True)
            self._thread.start()
        self._is_under_way = True
        self._todo.put(_behind(work, list(_streams(devices))))

    def wait(self) -> None:
        """Until what is under way is done, or was given up."""
        if self._is_under_way:
            self._is_under_way = False
            if (error := self._ended.get()) is not None:
                raise error

    def _work(self) -> None:
        while True:
            work = self._todo.get()
            try:
                work()
            except BaseException as error:
                self._ended.put(error)
            else:
                self._ended.put(None)


def _streams(devices: Iterable[torch.device]) -> Iterator[torch.cuda.Stream]:
    for device in devices:
        if device.type == "cuda":
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream(device))
            yield stream


def _behind(work: Work, streams: Sequence[torch.cuda.Stream]) -> Work:
    def behind() -> None:
        with contextlib.ExitStack() as stack:
            for stream in streams:
                stack.enter_context(torch.cuda.stream(stream))
            work()

    return behind if streams else work
