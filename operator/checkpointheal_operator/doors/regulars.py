"""Who has been let in, under which name, and which of one name's connections is one too many?

Whoever is let in stays, and each name has room for a few: where one more speaks, the one that has been silent for
longest goes. What others do is nothing to it. Must not know what is said.
"""

import asyncio
import time
from typing import Protocol

SWEPT_EVERY = 60.0


class Speaker(Protocol):
    """A server's end of a connection."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """None once it is closed."""


class Regulars:
    """Open connections, by name."""

    def __init__(self) -> None:
        self._here: dict[str, dict[Speaker, None]] = {}
        self._swept = time.monotonic()

    def spoke(self, name: str, by: Speaker, most: int) -> None:
        """That one of the name's, which has room for so many."""
        here = self._here[name] = {each: None for each in self._here.get(name, ()) if _is_open(each) and each is not by}
        here[by] = None
        while len(here) > most:
            silent = next(iter(here))
            del here[silent]
            if silent.transport is not None:
                silent.transport.abort()
        self._sweep()

    def _sweep(self) -> None:
        """Who never comes again is forgotten, too."""
        if time.monotonic() < self._swept + SWEPT_EVERY:
            return
        self._swept = time.monotonic()
        open_ones = {name: {each: None for each in here if _is_open(each)} for name, here in self._here.items()}
        self._here = {name: here for name, here in open_ones.items() if here}


def _is_open(speaker: Speaker) -> bool:
    return speaker.transport is not None and not speaker.transport.is_closing()
