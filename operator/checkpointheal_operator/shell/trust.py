"""How does a leader come to its authority, and how do it and everybody outside stay up to date with it?

It looks again and again at what is kept and what is published; what failed is done the next time. Only the leader
does: agents are certified by whoever leads, and a follower passes their connections on unopened. Must not know what is
issued.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable

from checkpointheal_operator.gateway.authority import UnreadableRoots
from checkpointheal_operator.gateway.registrar import Registrar
from checkpointheal_operator.shell.cluster import (
    CONFIG_MAPS,
    SECRETS,
    WEBHOOKS,
    AlreadyThere,
    Cluster,
    ClusterError,
    Conflict,
    Ref,
)
from checkpointheal_operator.shell.publishing import Publishing, Webhook
from checkpointheal_operator.shell.roots import Roots
from checkpointheal_operator.shell.settings import OperatorSettings

log = logging.getLogger("checkpointheal.operator")

LOOK_EVERY, AGAIN_AFTER = 60.0, 2.0


class Trust:
    """The certificates of one leader. `clock` tells seconds since 1970, `steady` seconds that only grow."""

    def __init__(
        self,
        roots: Roots,
        publishing: Publishing,
        clock: Callable[[], float],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roots, self._publishing, self._clock, self._steady = roots, publishing, clock, steady
        self._registrar: Registrar | None = None
        self._beat: float | None = None

    @property
    def age(self) -> float:
        """Seconds since it last went on; none while nobody leads here."""
        return 0.0 if self._beat is None else self._steady() - self._beat

    @contextlib.asynccontextmanager
    async def leading(self) -> AsyncIterator[Registrar]:
        """For as long as this replica leads: see `begin`; after that it is at rest."""
        self._beat = self._steady()
        try:
            yield await self.begin()
        finally:
            self._registrar = None  # whoever leads again reads first what another leader has made of it
            self._beat = None

    async def begin(self) -> Registrar:
        """The gateway's registrar; waits as long as the roots cannot be had."""
        while self._registrar is None:
            await self.look()
            if self._registrar is None:
                await asyncio.sleep(AGAIN_AFTER)
        return self._registrar

    async def run(self) -> None:
        """Look every so often, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY if await self.look() else AGAIN_AFTER)

    async def look(self) -> bool:
        """Once; whether all is as it should be."""
        self._beat = self._steady()
        try:
            authority = await self._roots.current(self._clock())
            if self._registrar is None:
                self._registrar = Registrar(authority, self._clock)
            self._registrar.take(authority)
            self._registrar.refresh()
            await self._publishing.publish(authority, self._clock())
        except (AlreadyThere, Conflict) as error:
            log.info("somebody else was first, and is read anew: %s", error)
        except ClusterError as error:
            log.warning("certificates are not up to date: %s: %s", error.reason, error)
        except UnreadableRoots as error:
            log.error("%s: restore it; or delete it, and every agent has to be made anew", error)
        except ValueError as error:  # of a clock that no certificate can name
            log.error("certificates are not up to date: is the clock right? %s", error)
        else:
            return True
        return False


def trust_of(cluster: Cluster, settings: OperatorSettings, clock: Callable[[], float]) -> Trust | None:
    """As the settings say; None where they name no Secret, and the gateway speaks in clear."""
    if not settings.roots_secret:
        return None
    here = settings.namespace
    webhook = None
    if settings.webhook_secret:
        secret = Ref(SECRETS, here, settings.webhook_secret)
        webhook = Webhook(secret, settings.webhook_hosts, Ref(WEBHOOKS, "", settings.webhook_configuration))
    roots = Roots(cluster, Ref(SECRETS, here, settings.roots_secret), settings.gateway_hosts, settings.terms)
    return Trust(roots, Publishing(cluster, Ref(CONFIG_MAPS, here, settings.root_config_map), webhook), clock)
