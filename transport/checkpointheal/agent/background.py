"""What has been begun beside everything else, and has not ended yet?

An event loop holds its tasks weakly: one that nobody else keeps may vanish half done. Must not know what they do.
"""

import asyncio
from collections.abc import Coroutine


class Background:
    """Tasks that end by themselves, kept until they have."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Returns at once; the work begins when the event loop comes to it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
