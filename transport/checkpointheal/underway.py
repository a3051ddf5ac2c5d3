"""How does a caller leave a transfer that waits for a peer?

The transfer runs in threads of its own, and the caller waits for them or for the word to leave. A thread that is left
ends with its next wait, by its own timeout. Must not know what is transferred.
"""

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

from checkpointheal.errors import Abandoned

_LEAVE = -1


class Progress(NamedTuple):
    """How far one transfer has come."""

    done: int
    """Bytes that have crossed, and, where they were received, are verified."""
    total: int
    """Bytes that are to cross."""
    rate: float
    """Bytes per second since the first of them was asked for."""
    peer: int
    """The other rank."""


class Part:
    """One act of a call, which its caller may leave before it has ended."""

    def __init__(self, index: int, waiting: "SimpleQueue[Any]") -> None:
        self._index, self._waiting = index, waiting
        self._then: list[Callable[[], None]] = []

    def give_up(self, error: BaseException) -> None:
        """This is its outcome, however long its thread still waits."""
        self._waiting.put((self._index, None, error))
        self.leave()

    def leave(self) -> None:
        """Nobody waits for it any more."""
        for act in self._then:
            act()

    def when_left(self, act: Callable[[], None]) -> None:
        """Do this once it is left."""
        self._then.append(act)

    def do(self, act: "Callable[[Part], Any]") -> None:
        """In a thread of its own; tells how it ended."""
        try:
            self._waiting.put((self._index, act(self), None))
        except BaseException as error:  # the outermost of this thread: whoever waits raises it
            self._waiting.put((self._index, None, error))


class Underway:
    """The calls of one transport. Once one of them was left, the transport's group is good for nothing more."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may cancel while its own thread is in here
        self._waiting: list[SimpleQueue[Any]] = []
        self.left = threading.Event()

    def cancel(self) -> None:
        """Every call that waits now raises Abandoned at once. Without one, nothing happens."""
        with self._lock:
            for waiting in self._waiting:
                self.left.set()
                waiting.put((_LEAVE, None, None))

    def run(self, acts: Sequence[Callable[[Part], Any]]) -> list[Any]:
        """Do all side by side; their results. Raises the first one's error after all have ended, or Abandoned."""
        self.require_whole()
        ended: SimpleQueue[Any] = SimpleQueue()
        parts = [Part(index, ended) for index in range(len(acts))]
        with self._lock:
            self._waiting.append(ended)
        try:
            for part, act in zip(parts, acts, strict=True):
                threading.Thread(target=part.do, args=(act,), daemon=True, name="checkpointheal").start()
            outcomes = _outcomes(ended, len(acts))
        except BaseException:  # an interrupt leaves its threads too
            self.left.set()
            for part in parts:
                part.leave()
            raise
        finally:
            with self._lock:
                self._waiting.remove(ended)
        for index in range(len(acts)):
            if isinstance(error := outcomes[index][1], BaseException):
                raise error
        return [outcomes[index][0] for index in range(len(acts))]

    def require_whole(self) -> None:
        """Raises Abandoned where a call was left before."""
        if self.left.is_set():
            raise Abandoned(
                "a transfer over this process group was cancelled: make another group, and a transport on it"
            )


def _outcomes(ended: "SimpleQueue[Any]", count: int) -> dict[int, tuple[Any, BaseException | None]]:
    """The first outcome of each part: one that was given up may end once more."""
    outcomes: dict[int, tuple[Any, BaseException | None]] = {}
    while len(outcomes) < count:
        index, result, error = ended.get()
        if index == _LEAVE:
            raise Abandoned("the transfer was cancelled here")
        outcomes.setdefault(index, (result, error))
    return outcomes


class Watch:
    """Tells how far a transfer has come, and ends it where its caller has left."""

    def __init__(self, tell: Callable[[Progress], None] | None, peer: int, left: threading.Event) -> None:
        self._tell, self._peer, self._left = tell, peer, left
        self._done, self._total, self._began = 0, 0, 0.0

    def expect(self, total: int) -> None:
        """So many bytes are to cross in all."""
        self._total, self._began = total, self._began or time.monotonic()
        self.crossed(self._done)

    def crossed(self, done: int) -> None:
        """So many have. Raises Abandoned where nobody waits for the rest."""
        self._done = done
        self._require_awaited()
        if self._tell is not None:
            seconds = time.monotonic() - self._began
            self._tell(Progress(done, self._total, done / seconds if seconds else 0.0, self._peer))
            self._require_awaited()  # who is told may have called it off

    def _require_awaited(self) -> None:
        if self._left.is_set():
            raise Abandoned("the transfer was cancelled here")
