"""How is a process kept from staying in an epoch that is over?

What blocks it is pressed to come free, again and again, until it has left; one that has not left at the deadline is
ended. Each by a thread of its own: an abort that hangs in a driver must not keep the deadline from being kept. Must not
know what is pressed, nor what leaving means.
"""

import os
import threading
from collections.abc import Callable

from checkpointheal.contract.trainer import EXIT_EPOCH_OVER

PRESS_EVERY = 0.1
"""Seconds."""
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
