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
    """Open connections, each by the name that it spoke under last."""

    def __init__(self) -> None:
        self._here: dict[str, dict[Speaker, None]] = {}
        self._named: dict[Speaker, str] = {}
        self._swept = time.monotonic()

    def spoke(self, name: str, by: Speaker, most: int) -> None:
        """That one of the name's, which has room for so many."""
        self._here.get(self._named.get(by, ""), {}).pop(by, None)
        here = self._here[name] = {each: None for each in self._here.get(name, ()) if self._stays(each)}
        here[by], self._named[by] = None, name
        while len(here) > most:
            silent = next(iter(here))
            del here[silent], self._named[silent]
            if silent.transport is not None:
                silent.transport.abort()
        self._sweep()

    def _stays(self, speaker: Speaker) -> bool:
        if speaker.transport is not None and not speaker.transport.is_closing():
            return True
        self._named.pop(speaker, None)
        return False

    def _sweep(self) -> None:
        """Who never comes again is forgotten, too."""
        if time.monotonic() < self._swept + SWEPT_EVERY:
            return
        self._swept = time.monotonic()
        for name, here in list(self._here.items()):
            self._here[name] = {each: None for each in here if self._stays(each)}
            if not self._here[name]:
                del self._here[name]
