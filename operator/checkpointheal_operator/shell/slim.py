"""What of an object does a mirror hold? What is read of it again and again, and nothing else.

A leader holds each pod and each heal of a cluster for as long as they stand there. Pure; must not know how mirrors are
kept.
"""

from collections.abc import Callable, Mapping
from typing import Any

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.heal_record import HEALED
from checkpointheal_operator.core.injection_parts import AGENT
from checkpointheal_operator.core.injection_settings import InjectionSettings
from checkpointheal_operator.core.pod_trouble import (
    AGENT_LISTS,
    SCHEDULED,
    WHY_WITHOUT,
    agent_status,
    has_agent_in,
    is_over,
    why_without,
)
from checkpointheal_operator.core.trainer_ails import ill

_NAMES, _MARKS = ("name", "namespace", "uid", "resourceVersion"), ("labels", "annotations", "ownerReferences")
METADATA = frozenset((*_NAMES, *_MARKS, "creationTimestamp", "deletionTimestamp"))
"""What is read of a pod's."""
AGENT_ALONE = [{"name": AGENT}]
"""Of an agent's container its name is read. One list for all pods."""
_TOLD_OF = {"Ready": ("type", "status"), SCHEDULED: ("type", "status", "reason", "message")}
"""Of a pod's conditions."""
MANAGED = "managedFields"
TOLD_FOR_PEOPLE = frozenset(("candidates", "moreCandidates"))
"""Who did not give, and why: with as many replicas as there may be, most of a heal."""


def slim_policy(policy: Json) -> Json:
    """All but who wrote which field: that is as long as the rest, and nobody's question here."""
    return policy | {"metadata": {key: value for key, value in policy["metadata"].items() if key != MANAGED}}


def slim_namespace(namespace: Json) -> Json:
    """Its labels."""
    metadata = namespace["metadata"]
    return {"metadata": {key: metadata[key] for key in ("name", "uid", "resourceVersion", "labels") if key in metadata}}


def slim_heal(heal: Json) -> Json:
    """Of one that has its verdict, what later ones are decided by: fifty of each job are held, and read once."""
    found, status = slim_policy(heal), heal.get("status") or {}
    if not status.get("concludedAt"):
        return found
    spec = heal.get("spec") or {}
    assignment = spec.get("assignment")
    verdict = [each for each in status.get("conditions") or () if each.get("type") == HEALED]
    return found | {
        "spec": spec | ({"assignment": _for_the_core(assignment)} if assignment else {}),
        "status": _for_the_core(status) | {"conditions": verdict},
    }


def slim_pod(pod: Json, settings: Callable[[], InjectionSettings | None] = lambda: None) -> Json:
    """What is read of a pod: a thousand of them cost a few megabytes, not a hundred.

    `settings` are the installation's, by which one without an agent was refused or not.
    """
    spec, status = pod.get("spec", {}), pod.get("status", {})
    agent: Json = {each: AGENT_ALONE for each in AGENT_LISTS if has_agent_in(pod, each)}
    if not agent and not is_over(pod):
        agent = {WHY_WITHOUT: why_without(pod, settings())}
    return {
        "metadata": {key: value for key, value in pod["metadata"].items() if key in METADATA},
        "spec": {"nodeName": spec.get("nodeName", "")} | agent,
        "status": {key: status[key] for key in ("phase", "podIP") if key in status}
        | _conditions(status)
        | _ails(agent_status(pod), is_pending=status.get("phase") == "Pending")
        | ({"containerStatuses": found} if (found := ill(pod)) else {}),
    }


def _conditions(status: Json) -> Json:
    """Whether it is ready, and why it has no node where it has none."""
    told = [
        {key: each[key] for key in _TOLD_OF[each["type"]] if key in each}
        for each in status.get("conditions") or ()
        if each.get("type") == "Ready" or (each.get("type") == SCHEDULED and each.get("status") == "False")
    ]
    return {"conditions": told} if told else {}


def _ails(said: Mapping[str, Any], *, is_pending: bool) -> Json:
    """What is said of an agent that waits or has ended; of one that runs and always did, nothing once its pod does."""
    states = {key: _stopped(said.get(key) or {}) for key in ("state", "lastState")}
    if is_pending and "running" in (said.get("state") or {}):
        states["state"] = {"running": {}}
    if not any(states.values()):
        return {}
    return {"initContainerStatuses": [{"name": AGENT, "image": said.get("image", "")} | states]}


def _stopped(state: Mapping[str, Any]) -> Json:
    return {key: state[key] for key in ("waiting", "terminated") if state.get(key)}


def _for_the_core(told: Json) -> Json:
    return {key: value for key, value in told.items() if key not in TOLD_FOR_PEOPLE}
