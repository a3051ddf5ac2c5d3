"""Who is inside the agent's door, and who is sent away for being silent, or one too many?

Whoever comes in has to say something, and each pod has room for a few connections. One that is being answered is never
cut for another one's sake. Must not know TLS, HTTP or what is said.
"""

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

OF_A_POD = 32
"""Connections of one pod: an agent has one for each word that waits for its answer, and its trainer waits for few."""


class Inside:
    """Connections by pod, each for as long as it is open."""

    def __init__(self) -> None:
        self._open: defaultdict[str, dict[asyncio.Transport, None]] = defaultdict(dict)
        self._answering: Counter[asyncio.BaseTransport] = Counter()
        self._silent: dict[asyncio.BaseProtocol, asyncio.Event] = {}

    @contextlib.contextmanager
    def silent(self, serve: Callable[[], asyncio.Protocol]) -> Iterator[tuple[asyncio.Protocol, asyncio.Event]]:
        """A protocol for somebody who has said nothing yet, and what is set once it has."""
        protocol, spoke = serve(), asyncio.Event()
        self._silent[protocol] = spoke
        try:
            yield protocol, spoke
        finally:
            del self._silent[protocol]

    def has_room(self, pod_uid: str, came: asyncio.Transport) -> bool:
        """Whether that one may stay. Where there are too many, one of the pod's that is not being answered goes."""
        here = self._open[pod_uid]
        for each in [each for each in here if each.is_closing()]:
            del here[each]
        if len(here) >= OF_A_POD:
            idle = next((each for each in here if not self._answering[each]), None)
            if idle is None:
                return False
            del here[idle]
            idle.abort()
        here[came] = None
        self._forget_the_gone()
        return True

    @contextlib.contextmanager
    def answering(self, protocol: asyncio.BaseProtocol, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """Who speaks by that protocol has said something, and stays until it is answered."""
        if (spoke := self._silent.get(protocol)) is not None:
            spoke.set()
        if transport is None:
            yield
            return
        self._answering[transport] += 1
        try:
            yield
        finally:
            self._answering[transport] -= 1
            if not self._answering[transport]:
                del self._answering[transport]

    def _forget_the_gone(self) -> None:
        for uid in [uid for uid, here in self._open.items() if all(each.is_closing() for each in here)]:
            del self._open[uid]
