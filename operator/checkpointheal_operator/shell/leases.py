"""Who leads? A Lease says so, and whoever holds it writes so every few seconds.

How long a lease has stood unrenewed is measured by the watcher's own clock, from when it first saw it so: clocks of two
machines need not agree. A leader that could not renew stops leading before anybody else may begin. Must not know what a
leader does.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from checkpointheal_operator.api.base import Json, timestamp
from checkpointheal_operator.shell.cluster import Cluster, ClusterError, Conflict, Kind, NotThere, Ref

log = logging.getLogger("checkpointheal.leader")

LEASES = Kind("coordination.k8s.io/v1", "Lease", "leases")


@dataclass(frozen=True)
class Terms:
    """Seconds: how long a lease holds, when its holder gives up, how often it renews."""

    holds: float = 15.0
    gives_up: float = 10.0
    every: float = 2.0


@dataclass(frozen=True)
class Clocks:
    """Seconds since 1970, for people; seconds that only grow, to decide by."""

    wall: Callable[[], float]
    steady: Callable[[], float]


class Leadership:
    """One candidate's."""

    def __init__(self, cluster: Cluster, ref: Ref, me: str, clocks: Clocks, terms: Terms | None = None) -> None:
        self._cluster, self._ref, self._me, self._clocks = cluster, ref, me, clocks
        self._terms = terms or Terms()
        self._seen: tuple[str, float] = ("", 0.0)
        self.holder = ""

    async def lead(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait to hold the lease, then do `work` until it is lost, again and again. Raises what `work` raises."""
        while True:
            await self._acquire()
            log.info("%s leads", self._me)
            async with self._held() as lost:
                await _until(lost, work)
            log.warning("%s leads no more", self._me)

    async def _acquire(self) -> None:
        while True:
            if await self._try():
                return
            await asyncio.sleep(self._terms.every)

    async def _try(self) -> bool:
        """Take the lease if it is free."""
        try:
            lease = await self._cluster.get(self._ref)
        except NotThere:
            return await self._make()
        except ClusterError as error:
            log.warning("the lease cannot be read: %s: %s", error.reason, error)
            return False
        version, spec = lease["metadata"]["resourceVersion"], lease.get("spec", {})
        self.holder = spec.get("holderIdentity") or ""
        if version != self._seen[0]:
            self._seen = (version, self._clocks.steady())
        if self.holder not in ("", self._me) and self._clocks.steady() < self._seen[1] + self._terms.holds:
            return False
        return await self._write(version, spec.get("leaseTransitions") or 0)

    async def _make(self) -> bool:
        metadata = {"name": self._ref.name, "namespace": self._ref.namespace}
        body = {"apiVersion": LEASES.api, "kind": LEASES.kind, "metadata": metadata, "spec": self._spec(0)}
        try:
            self._mine(await self._cluster.create(LEASES, body))
        except ClusterError as error:
            log.warning("the lease cannot be made: %s: %s", error.reason, error)
            return False
        return True

    async def _write(self, version: str, transitions: int) -> bool:
        body = {"metadata": {"resourceVersion": version}, "spec": self._spec(transitions + 1)}
        try:
            self._mine(await self._cluster.patch(self._ref, body))
        except ClusterError as error:
            log.warning("the lease cannot be taken: %s: %s", error.reason, error)
            return False
        return True

    @contextlib.asynccontextmanager
    async def _held(self) -> AsyncIterator[asyncio.Task[None]]:
        """While it is renewed; at the end it is given back, so that nobody waits for it to run out."""
        renewing = asyncio.create_task(self._renew())
        try:
            yield renewing
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with contextlib.suppress(ClusterError):
                await self._give_back()

    async def _give_back(self) -> None:
        """A renewal that was broken off may have been done, too."""
        try:
            await self._free()
        except Conflict:
            if not await self._is_anothers():
                await self._free()

    async def _free(self) -> None:
        body = {"metadata": {"resourceVersion": self._seen[0]}, "spec": {"holderIdentity": ""}}
        await self._cluster.patch(self._ref, body)

    async def _renew(self) -> None:
        """Returns when the lease is lost. Written under the version that was written last: another's write shows."""
        renewed = self._clocks.steady()
        while self._clocks.steady() < renewed + self._terms.gives_up:
            await asyncio.sleep(self._terms.every)
            asked = self._clocks.steady()
            body = {"metadata": {"resourceVersion": self._seen[0]}, "spec": {"renewTime": self._now()}}
            try:
                async with asyncio.timeout(max(0.0, renewed + self._terms.gives_up - asked)):
                    self._mine(await self._cluster.patch(self._ref, body))
                renewed = asked
            except (ClusterError, TimeoutError) as error:
                log.warning("the lease was not renewed: %s: %s", type(error).__name__, error)
                if await self._is_anothers():
                    return

    async def _is_anothers(self) -> bool:
        """A renewal without an answer may have been done: then the version is another, and still ours."""
        with contextlib.suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(self._terms.every):
                lease = await self._cluster.get(self._ref)
            if lease.get("spec", {}).get("holderIdentity") != self._me:
                return True
            self._seen = (lease["metadata"]["resourceVersion"], self._clocks.steady())
        return False

    def _mine(self, stored: Json) -> None:
        self.holder = self._me
        self._seen = (stored["metadata"]["resourceVersion"], self._clocks.steady())

    def _spec(self, transitions: int) -> Json:
        return {
            "holderIdentity": self._me,
            "leaseDurationSeconds": max(1, round(self._terms.holds)),
            "acquireTime": self._now(),
            "renewTime": self._now(),
            "leaseTransitions": transitions,
        }

    def _now(self) -> str:
        return timestamp(self._clocks.wall())


async def _until(lost: asyncio.Task[None], work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    working = asyncio.create_task(work())
    try:
        await asyncio.wait({lost, working}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
