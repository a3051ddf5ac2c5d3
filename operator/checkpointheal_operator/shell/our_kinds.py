"""How are CheckpointHeals followed? By kopf, whose events go into a mirror.

Only `on.event`: nothing is written on any object, so a namespace can be deleted when the operator is gone. kopf runs in
a thread with a loop of its own, because where it ends, it ends every task of its loop, and it ends with the first error
in a stream. Then it is started anew. What it does not tell, a deletion while its stream was broken, is found by listing
them once in a while: they are few. Heals, of which there are many, it does not follow. Must not know what the objects
mean.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import kopf

from checkpointheal_operator.shell.access import Access
from checkpointheal_operator.shell.cluster import ClusterError, Kind
from checkpointheal_operator.shell.kube import ANSWER_SECONDS, QUIET_SECONDS, STREAM_SECONDS
from checkpointheal_operator.shell.watching import Watch

log = logging.getLogger("checkpointheal.operator")

SWEEP_EVERY, AGAIN_AFTER = 30.0, 1.0
FIRST_SWEEP = 1.0
"""Seconds after kopf's start, then twice as many each time: what goes before kopf's own list, kopf never tells."""
WHO: Any = "checkpointheal"
"""Told though kopf meets no peers: it would ask for the user's name, which in a container nobody has."""
ENDS_WITHIN = 3.0
"""Seconds for which kopf is waited for when it is told to end: after an error it may hang on its own log-in."""


class Stop:
    """Ends a kopf in another thread, even one that has not begun."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._bound: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def __call__(self) -> None:
        """From any thread."""
        self._asked.set()
        if self._bound is not None:
            loop, flag = self._bound
            with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended already
                loop.call_soon_threadsafe(flag.set)

    def flag(self) -> asyncio.Event:
        """In kopf's loop: what it waits for."""
        flag = asyncio.Event()
        self._bound = (asyncio.get_running_loop(), flag)
        if self._asked.is_set():
            flag.set()
        return flag


class OurKinds:
    """Keeps the mirror of each watch, whose own stream is not used."""

    def __init__(self, access: Access, watches: Mapping[Kind, Watch]) -> None:
        self._access, self._watches = access, watches

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            stop = Stop()
            following = _in_thread(partial(self._follow, loop, stop))
            pause = FIRST_SWEEP
            try:
                while not following.done():
                    swept = await self._sweep()
                    await asyncio.wait({following}, timeout=pause if swept else AGAIN_AFTER)
                    pause = min(pause * 2, SWEEP_EVERY)
            finally:
                stop()
                await asyncio.wait({following}, timeout=ENDS_WITHIN)
            log.warning("kopf ended, and is started again: %s", following.exception())
            await asyncio.sleep(AGAIN_AFTER)

    async def _sweep(self) -> bool:
        """List all; whether it could be done."""
        try:
            for watch in self._watches.values():
                await watch.relist()
        except ClusterError as error:
            log.warning("our kinds cannot be listed: %s: %s", error.reason, error)
            return False
        return True

    def _follow(self, loop: asyncio.AbstractEventLoop, stop: Stop) -> None:
        """In a thread of its own. Returns when told, raises what ended kopf."""

        def told(watch: Watch) -> Callable[..., Awaitable[None]]:
            async def event(event: Mapping[str, Any], **_: Any) -> None:  # or kopf takes a thread for each
                with contextlib.suppress(RuntimeError):  # nobody listens any more
                    loop.call_soon_threadsafe(watch.take, event["type"], dict(event["object"]))

            return event

        registry = kopf.OperatorRegistry()
        for kind, watch in self._watches.items():
            group, _, version = kind.api.partition("/")
            kopf.on.event(group, version, kind.plural, registry=registry, id=kind.plural)(told(watch))
        asyncio.run(self._operate(registry, stop))

    async def _operate(self, registry: kopf.OperatorRegistry, stop: Stop) -> None:
        async with self._access.session() as session:

            async def login(**_: Any) -> kopf.AiohttpSession:
                return kopf.AiohttpSession(server=self._access.url, aiohttp_session=session)

            kopf.on.login(registry=registry, id="access")(login)
            flag = stop.flag()
            await kopf.operator(
                registry=registry,
                settings=settings(),
                identity=WHO,
                standalone=True,
                clusterwide=True,
                stop_flag=flag,
            )


def _in_thread(work: Callable[[], None]) -> asyncio.Future[None]:
    """A thread that no end of the process waits for; what became of it."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)
            ended.exception()  # it is told by whoever waits, and nobody may wait any more

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except Exception as failed:
            error = failed
        with contextlib.suppress(RuntimeError):  # nobody listens any more
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="kopf", daemon=True).start()
    return ended


def settings() -> kopf.OperatorSettings:
    """Those of kopf's that are not as it would have them."""
    said = kopf.OperatorSettings()
    said.posting.enabled = False
    said.scanning.disabled = True
    said.watching.chunk_size = 500
    said.watching.server_timeout, said.watching.inactivity_timeout = STREAM_SECONDS, QUIET_SECONDS
    said.networking.request_timeout = ANSWER_SECONDS
    said.process.ultimate_exiting_timeout = None
    return said
