"""How is a process kept from staying in an epoch that is over?

What blocks it is pressed to come free, again and again, until it has left; one that has not left at the deadline is
ended. Each by a thread of its own: an abort that hangs in a driver must not keep the deadline from being kept. A call
that nothing frees is left behind in its thread. Must not know what is pressed or called, nor what leaving means.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from checkpointheal.contract.trainer import EXIT_EPOCH_OVER

T = TypeVar("T")

PRESS_EVERY = 0.1
"""Seconds."""
LOOK_EVERY = 0.05
LAST_WORDS = 1.0
"""Seconds that the last line may take: whoever reads it may stand still."""


def press_until(left: threading.Event, press: Callable[[], object], *, at_once: bool = False) -> None:
    """Call `press` again and again until `left` is set, the first time after a pause or `at_once`. Returns at once."""

    def pressing() -> None:
        if at_once:
            press()
        while not left.wait(PRESS_EVERY):
            press()

    threading.Thread(target=pressing, name="checkpointheal-ending", daemon=True).start()


def end_unless(left: threading.Event, deadline: float, last_words: Callable[[], object]) -> None:
    """End this process with EXIT_EPOCH_OVER, unless `left` is set within so many seconds. Returns at once."""

    def watching() -> None:
        if not left.wait(deadline):
            words = threading.Thread(target=last_words, daemon=True)
            words.start()
            words.join(LAST_WORDS)
            os._exit(EXIT_EPOCH_OVER)

    threading.Thread(target=watching, name="checkpointheal-deadline", daemon=True).start()


def unless(is_over: Callable[[], bool], call: Callable[[], T]) -> T:
    """What the call returns or raises; RuntimeError, and it goes on by itself, where that is over before."""
    future: Future[T] = Future()

    def calling() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # it is raised where the result is waited for
            future.set_exception(error)

    threading.Thread(target=calling, name="checkpointheal-calling", daemon=True).start()
    while True:
        try:
            return future.result(LOOK_EVERY)
        except TimeoutError:
            if future.done():  # it may have raised that itself, or have come just now
                return future.result()
            if is_over():
                raise RuntimeError("it is over before all had come") from None
