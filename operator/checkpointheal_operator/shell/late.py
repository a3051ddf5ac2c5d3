"""Who adds an agent to pods that were made without one, where that can still be done?

One look at each such pod, for what it lacks it never gets; but a right may come. It is the one thing that changes a
pod: only where the installation asks for it, in namespaces that its webhook serves. Must not know how jobs are healed.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from checkpointheal.contract.log_lines import about
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.injected import NotInjected
from checkpointheal_operator.core.injection_settings import InjectionSettings
from checkpointheal_operator.core.late import late_agent
from checkpointheal_operator.core.pod_trouble import trouble
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.shell.cluster import PODS, ClusterError, Forbidden, NotThere, Ref, Refused
from checkpointheal_operator.shell.mirror import Mirror

log = logging.getLogger("checkpointheal.operator")

LOOK_EVERY = 5.0
NOW, NEVER = 0.0, math.inf
FORBIDDEN_PAUSE = 30.0
"""Seconds until it is tried again: a role or a policy of the namespace says no, to this pod as to every other."""


class Pods(Protocol):
    """What is asked of the API server. Every method raises ClusterError."""

    async def get(self, ref: Ref) -> Json:
        """The whole pod: a mirror keeps little of it."""

    async def add_ephemeral(self, pod: Ref, containers: Sequence[Json]) -> None:
        """These are its ephemeral containers from now on; those that it has must be among them."""


class LateAgents:
    """Of one leader. `current`: what an agent is made by now; it raises OSError or ValidationError."""

    def __init__(
        self, cluster: Pods, pods: Mirror, serves: Callable[[str], bool], current: Callable[[], InjectionSettings]
    ) -> None:
        self._cluster, self._pods, self._serves, self._current = cluster, pods, serves, current
        self._again: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look(asyncio.get_running_loop().time())
            await asyncio.sleep(LOOK_EVERY)

    async def look(self, now: float) -> None:
        """Once, at all pods that run without an agent and whose time has come. `now` in seconds, of any clock."""
        found = (each["metadata"] for each in self._pods if _runs_without(each))
        without = {each["uid"]: each for each in found if self._serves(each["namespace"])}
        self._again = {uid: again for uid, again in self._again.items() if uid in without}
        for uid, metadata in without.items():
            if self._again.get(uid, now) <= now:
                self._again[uid] = now + await self._add(metadata, is_first=uid not in self._again)

    async def _add(self, metadata: Json, *, is_first: bool) -> float:
        """Seconds until it may be tried again."""
        ref = Ref(PODS, metadata["namespace"], metadata["name"])
        facts = about(namespace=ref.namespace, pod=ref.name)
        try:
            pod = await self._cluster.get(ref)
            agent = late_agent(pod, self._current())
            if isinstance(agent, NotInjected):
                log.warning("no agent can be added: %s: %s", agent.reason, agent.message, extra=facts)
                return NEVER
            await self._cluster.add_ephemeral(ref, [*(pod["spec"].get("ephemeralContainers") or ()), agent])
            log.info("an agent was added beside a trainer that ran without one", extra=facts)
        except Forbidden as error:
            if is_first:
                log.warning("no agent can be added: %s: %s", error.reason, error, extra=facts)
            return FORBIDDEN_PAUSE
        except (NotThere, Refused) as error:
            log.warning("no agent can be added: %s: %s", error.reason, error, extra=facts)
        except (ClusterError, OSError, ValidationError) as error:
            log.warning("no agent could be added now: %s: %s", type(error).__name__, error, extra=facts)
            return NOW
        return NEVER


def made_by(settings: Path, root: Callable[[], str]) -> InjectionSettings:
    """The webhook's settings, and whom new agents believe. Raises OSError or ValidationError."""
    said = InjectionSettings.model_validate_json(settings.read_bytes())
    return said.but(gateway_root=root())


def _runs_without(pod: Json) -> bool:
    found = trouble(pod)
    running = pod.get("status", {}).get("phase") == "Running"
    return running and found is not None and found.reason == Reason.NOT_INJECTED
