"""Why does a pod that opted in have no agent at work, or why can it have none yet?

Read from the pod as the API server has it; nothing is guessed from silence. Each answer names its remedy, for nobody
deletes a pod here. Plain JSON and no model: it is asked of every pod again and again. Must not know the pod's job.
"""

from collections.abc import Mapping
from typing import Any

from checkpointheal_operator.core.annotations import AGENT_MEMORY
from checkpointheal_operator.core.facts import Trouble
from checkpointheal_operator.core.injection_parts import AGENT
from checkpointheal_operator.core.injection_settings import InjectionSettings
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.refused import refusal

Json = Mapping[str, Any]

AGENT_LISTS = ("initContainers", "ephemeralContainers")
"""Where in a pod's spec an agent may stand."""
NO_IMAGE = frozenset(
    (
        *("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"),
        *("RegistryUnavailable", "SignatureValidationFailed"),
    )
)
NO_START = frozenset(
    ("CreateContainerConfigError", "CreateContainerError", "CrashLoopBackOff", "RunContainerError", "StartError")
)
OUT_OF_MEMORY = "OOMKilled"
MISSED = (
    "the webhook did not answer when it was made, or passes its namespace over (the label "
    "checkpointheal.dev/inject=false, or the chart's webhook.namespaceSelector); where it does not, delete the pod "
    "when it suits, and the next one gets an agent"
)
MEND = "mend that in the pod template, for the next pod is refused for the same"
UNLESS_TOLD = "unless the chart's agent.accelerators or agent.bystanders tell its trainer"
WHY_WITHOUT = "whyWithout"
"""Where in a pod's spec a mirror keeps that: it keeps nothing of what it is found by."""
SCHEDULED = "PodScheduled"
NOT_LOOKED_AT = "no scheduler has looked at it"
OVER = ("Succeeded", "Failed")
LONGEST = 300
"""Characters of a kubelet's message that are passed on."""


def trouble(pod: Json) -> Trouble | None:
    """What keeps this opted-in pod's agent from its work; None where nothing does, or where the pod is at its end."""
    if is_over(pod):
        return None
    name = pod["metadata"]["name"]
    if not has_agent(pod):
        return _told(Reason.NOT_INJECTED, pod=name, why=why_without(pod))
    return _of_agent(name, agent_status(pod))


def not_begun(pod: Json) -> Trouble | None:
    """Why its agent cannot have said anything yet, where it has not begun to run: then no log tells more."""
    if is_over(pod) or pod.get("status", {}).get("phase") != "Pending":
        return None
    name, node = pod["metadata"]["name"], pod.get("spec", {}).get("nodeName")
    if not node:
        scheduled = condition(pod, SCHEDULED)
        return _told(Reason.NO_NODE, pod=name, why=_why(scheduled.get("reason") or NOT_LOOKED_AT, scheduled))
    if "running" in (agent_status(pod).get("state") or {}):
        return None
    return _told(Reason.NOT_STARTED, pod=name, node=node)


def why_without(pod: Json, settings: InjectionSettings | None = None) -> str:
    """Why no agent is in it, and what helps: as was found of the whole pod, where this is what a mirror keeps of it.

    `settings` are the installation's, where they are known.
    """
    if (kept := pod.get("spec", {}).get(WHY_WITHOUT)) is not None:
        return str(kept)
    refused = refusal(pod, settings)
    if refused is None:
        return MISSED
    told = f"{refused.reason}: {refused.message}"
    return f"{told}; {MEND}" if refused.sure else f"{MISSED}; or, {UNLESS_TOLD}, {told}"


def passed_over(found: Trouble | None, pod: str) -> Trouble | None:
    """The trouble of a pod in a namespace that the webhook does not serve: there nobody has missed an agent."""
    if found is None or found.reason != Reason.NOT_INJECTED:
        return found
    return _told(Reason.NAMESPACE_OPTED_OUT, pod=pod)


def no_policy(pod: Json) -> Trouble | None:
    """What to say of a pod that no policy selects; None where it is at its end."""
    return None if is_over(pod) else _told(Reason.NO_POLICY, pod=pod["metadata"]["name"])


def has_agent(pod: Json) -> bool:
    """Whether an agent stands in its spec, early or late."""
    return any(has_agent_in(pod, where) for where in AGENT_LISTS)


def has_agent_in(pod: Json, where: str) -> bool:
    """Whether an agent stands in that list of the pod's spec."""
    return any(each["name"] == AGENT for each in pod.get("spec", {}).get(where) or ())


def agent_status(pod: Json) -> Json:
    """What the kubelet says of the agent; empty before it says anything."""
    statuses = pod.get("status", {}).get("initContainerStatuses") or ()
    return next((each for each in statuses if each["name"] == AGENT), {})


def is_over(pod: Json) -> bool:
    """Whether it is at its end, or was asked to end."""
    return "deletionTimestamp" in pod["metadata"] or pod.get("status", {}).get("phase") in OVER


def condition(pod: Json, name: str) -> Json:
    """Of a pod's conditions that one; empty where it has none such."""
    found = pod.get("status", {}).get("conditions") or ()
    return next((each for each in found if each.get("type") == name), {})


def _of_agent(pod: str, said: Json) -> Trouble | None:
    state, last = said.get("state") or {}, said.get("lastState") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    why = waiting.get("reason") or ended.get("reason") or ""
    if why in NO_IMAGE:
        names = {"pod": pod, "agent": AGENT, "image": said.get("image", ""), "why": _why(why, waiting)}
        return _told(Reason.AGENT_IMAGE_UNAVAILABLE, **names)
    if OUT_OF_MEMORY in (why, (last.get("terminated") or {}).get("reason")):
        return _told(Reason.AGENT_OUT_OF_MEMORY, pod=pod, key=AGENT_MEMORY)
    if why in NO_START:
        return _told(Reason.AGENT_CANNOT_START, pod=pod, why=_why(why, waiting or ended))
    return None


def _why(reason: str, said: Json) -> str:
    return f"{reason}: {said['message']}"[:LONGEST] if said.get("message") else reason


def _told(reason: Reason, **names: str) -> Trouble:
    return Trouble(reason=reason, message=reason.tell(**names))
