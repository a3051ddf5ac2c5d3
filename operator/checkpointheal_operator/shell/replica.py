"""What does one replica of the operator do, from its start to its end?

It follows the API from the beginning, whether it leads or not, and passes agents on to the leader. When it comes to
lead, it reads everything anew before it looks at the first job: what the leader before wrote must be there. Must not
know where its settings came from.
"""

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import cast

from aiohttp import web

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.doors.guests import Guests
from checkpointheal_operator.doors.serving import READERS, greeted, served
from checkpointheal_operator.doors.splice import Address, Entrance, Gateway, entrance
from checkpointheal_operator.gateway.app import make_app
from checkpointheal_operator.gateway.caller import Caller
from checkpointheal_operator.gateway.registrar import Registrar
from checkpointheal_operator.interpreter import give_back
from checkpointheal_operator.measures import spec
from checkpointheal_operator.measures.operating import OperatorMetrics
from checkpointheal_operator.shell.access import Access
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS, PODS, ClusterError, Kind, Ref
from checkpointheal_operator.shell.counted import Counted, counting_certify
from checkpointheal_operator.shell.gather import OPTED_IN
from checkpointheal_operator.shell.installed import installed
from checkpointheal_operator.shell.kube import Kube, Selection
from checkpointheal_operator.shell.late import LateAgents, made_by
from checkpointheal_operator.shell.leases import LEASES, Clocks, Leadership, Terms
from checkpointheal_operator.shell.look import Surroundings
from checkpointheal_operator.shell.mirror import Mirror
from checkpointheal_operator.shell.mirrored import Mirrored
from checkpointheal_operator.shell.operating import Operator
from checkpointheal_operator.shell.our_kinds import OurKinds
from checkpointheal_operator.shell.served import Served
from checkpointheal_operator.shell.settings import OperatorSettings
from checkpointheal_operator.shell.slim import slim_heal, slim_pod, slim_policy
from checkpointheal_operator.shell.tokens import Tokens
from checkpointheal_operator.shell.trust import trust_of
from checkpointheal_operator.shell.watching import Watch

log = logging.getLogger("checkpointheal.operator")

KEPT_SECONDS = 60.0
"""Of an agent's connection on which nothing is asked, or nothing whole. It lets go of its own after 15."""
AGAIN_AFTER, TIDIES_EVERY = 1.0, 60.0
STUCK_AFTER = 240.0
"""Seconds of an API server's silence after which a restart may help."""


class Replica:
    """One process of the operator."""

    def __init__(self, settings: OperatorSettings, access: Access, kube: Kube, terms: Terms | None = None) -> None:
        self.settings, self._access, self._kube, self.metrics = settings, access, kube, OperatorMetrics()
        self._cluster = cluster = Counted(kube, self.metrics)
        pods = partial(slim_pod, settings=partial(installed, settings.injection_settings))
        slims: dict[Kind, Callable[[Json], Json]] = {CHECKPOINTHEALS: slim_policy, HEALS: slim_heal, PODS: pods}
        self.mirrors = {kind: Mirror(partial(self._changed, kind), slim) for kind, slim in slims.items()}
        self._watches = {
            kind: Watch(kube, Selection(kind, OPTED_IN if kind == PODS else ""), mirror, time.monotonic)
            for kind, mirror in self.mirrors.items()
        }
        lease = Ref(LEASES, settings.namespace, settings.lease)
        self.leadership = Leadership(cluster, lease, settings.identity, Clocks(time.time, time.monotonic), terms)
        self._served = Served(kube, settings.namespace_selector, self._relabelled)
        self._tokens = Tokens(cluster, self.mirrors[PODS], settings.audience, time.monotonic, self.metrics.reviewed)
        self._trust = trust_of(cluster, settings, time.time)
        self._guests = Guests()
        self.operator: Operator | None = None
        self.gateway_port = self.health_port = 0
        """Where agents and probes come, once they can."""
        self._be_measured()

    async def run(self) -> None:
        """Until cancelled. Raises what can only be a fault of ours."""
        here = Address(self.settings.listens, self.settings.gateway_port)
        with entrance(here, self._leader, self._guests) as self._entrance:
            async with self._health(), asyncio.TaskGroup() as tasks:
                self.gateway_port = self._entrance.port
                tasks.create_task(self._entrance.run())
                for kind in (PODS, HEALS):
                    tasks.create_task(self._watches[kind].run())
                tasks.create_task(OurKinds(self._access, {CHECKPOINTHEALS: self._watches[CHECKPOINTHEALS]}).run())
                tasks.create_task(self._served.run())
                tasks.create_task(self.leadership.lead(self._lead))
                tasks.create_task(_tidy())

    def is_stuck(self) -> bool:
        """Whether the API has been silent, or one of our tasks has stood still, for so long that a restart may help.

        That the loop itself stands still needs no asking: then no probe is answered, and the kubelet's patience ends.
        """
        return max(self._ages().values()) > STUCK_AFTER

    def _ages(self) -> dict[str, float]:
        """Seconds since each last went on."""
        ages = {kind.plural: watch.age for kind, watch in self._watches.items()}
        if self._trust is not None:
            ages["certificates"] = self._trust.age
        return ages if self.operator is None else ages | {"operator": self.operator.age}

    def _be_measured(self) -> None:
        for kind, watch in self._watches.items():
            self.metrics.watches(kind.plural, partial(getattr, watch, "age"), partial(len, self.mirrors[kind]))
        self.metrics.leads(lambda: self.operator is not None)
        self.metrics.sees(spec.JOBS, lambda: self.operator.jobs if self.operator else 0)
        self.metrics.sees(spec.OPEN_HEALS, lambda: self.operator.open_heals if self.operator else 0)
        self.metrics.sees(spec.STANDING_STILL, lambda: self.operator.standing_still if self.operator else 0)
        self.metrics.sees(spec.AGENTS, lambda: len(self.operator.hub.heard) if self.operator else 0)
        self.metrics.sees(spec.VIEW_AGE, lambda: self.operator.view_age if self.operator else 0.0)

    async def _lead(self) -> None:
        gc.collect()  # all that it knew when it led before refers to itself, and as much comes now
        await self._read_anew()
        await self._served.look_anew()
        async with contextlib.AsyncExitStack() as stack:
            trust = self._trust
            await self._govern(await stack.enter_async_context(trust.leading()) if trust is not None else None)

    async def _govern(self, registrar: Registrar | None) -> None:
        mirrored = Mirrored(self._cluster, self.mirrors)
        around = Surroundings(mirrored, time.time, self.metrics, serves=self._served.serves)
        self.metrics.leaderships.inc()
        self.operator = operator = Operator(around, self.mirrors)
        try:
            async with self._gateway(operator, registrar) as inner, asyncio.TaskGroup() as tasks:
                tasks.create_task(inner.run())
                tasks.create_task(operator.run())
                if self._trust is not None:
                    tasks.create_task(self._trust.run())
                settings = self.settings.injection_settings if self.settings.late_agents else None
                if registrar is not None and settings is not None:
                    current = partial(made_by, settings, lambda: registrar.trusted)
                    late = LateAgents(self._kube, self.mirrors[PODS], self._served.serves, current)
                    tasks.create_task(late.run())
        finally:
            self.operator = None
            self.metrics.troubled({})

    async def _read_anew(self) -> None:
        while True:
            try:
                for watch in self._watches.values():
                    await watch.relist()
            except ClusterError as error:
                log.warning("the leader cannot begin: %s: %s", error.reason, error)
                await asyncio.sleep(AGAIN_AFTER)
            else:
                return

    @contextlib.asynccontextmanager
    async def _gateway(self, operator: Operator, registrar: Registrar | None) -> AsyncIterator[Entrance]:
        """With the entrance where other replicas come, to be run."""
        tls = registrar.context if registrar is not None else None
        certify = counting_certify(registrar.certify, self.metrics) if registrar is not None else None
        app = make_app(operator.hub, self._authenticate, certify, self._guests.known)
        app.middlewares.insert(0, self.metrics.counting())
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=KEPT_SECONDS)
        try:
            await runner.setup()
            gateway = Gateway(cast("web.Server", runner.server), tls)
            here = Address(self.settings.listens, self.settings.leader_port)
            with (
                entrance(here, lambda: None, self._guests) as inner,
                inner.leads_to(gateway),
                self._entrance.leads_to(gateway),
            ):
                yield inner
        finally:
            await runner.cleanup()

    async def _authenticate(self, token: str) -> Caller | None:
        """Not to be able to tell is not to say no: the agent comes again."""
        try:
            return await self._tokens.caller(token)
        except ClusterError as error:
            raise web.HTTPServiceUnavailable(text=f"the token cannot be reviewed now: {error.reason}") from error

    def _leader(self) -> Address | None:
        """Another replica; this one takes its agents itself."""
        name, _, host = self.leadership.holder.partition("/")
        return Address(host, self.settings.leader_port) if host and name != self.settings.pod_name else None

    def _changed(self, kind: Kind, before: Json | None, now: Json | None) -> None:
        if self.operator is not None:
            self.operator.changed(kind, before, now)

    def _relabelled(self, namespace: str) -> None:
        if self.operator is not None:
            self.operator.notice(namespace)

    @contextlib.asynccontextmanager
    async def _health(self) -> AsyncIterator[None]:
        """Never about leadership: a follower is as healthy as a leader."""

        async def health(_request: web.Request) -> web.Response:
            ages = {what: round(age, 1) for what, age in self._ages().items()}
            return web.json_response({"silent": ages}, status=503 if self.is_stuck() else 200)

        async def ready(_request: web.Request) -> web.Response:
            synced = all(watch.synced.is_set() for watch in self._watches.values())
            return web.json_response({"synced": synced}, status=200 if synced else 503)

        readers = Guests(READERS)
        app = web.Application(middlewares=[greeted(readers)])
        app.add_routes([web.get("/healthz", health), web.get("/readyz", ready)])
        app.add_routes([web.get("/metrics", self.metrics.page)])
        async with served(app, Address(self.settings.listens, self.settings.health_port), readers) as self.health_port:
            yield


async def _tidy() -> None:
    while True:
        await asyncio.sleep(TIDIES_EVERY)
        give_back()
