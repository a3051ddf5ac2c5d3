"""Is a pod opted in, does an agent stand beside its trainer, and which place does it hold?

Pure: from the pod as the API server has it, to one standing with its problems. Must not know which policy asks.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.identity import Placed, Unplaced, place
from checkpointheal_operator.core.injection_parts import AGENT
from checkpointheal_operator.core.injection_settings import INJECT, INJECTED
from checkpointheal_operator.core.pod_manifest import Metadata
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.refused import refusal

OPT_IN = f'put the label {INJECT}: "true" into the pod template, and let its pods be made anew'
STUCK = {
    "ImagePullBackOff": "the agent's image cannot be pulled: look at image and pull secrets of the chart",
    "ErrImagePull": "the agent's image cannot be pulled: look at image and pull secrets of the chart",
    "ErrImageNeverPull": "the agent's image is not on the node: load it, or change the chart's pull policy",
    "CreateContainerConfigError": "kubectl describe pod {pod} says what the agent's container lacks",
    "CrashLoopBackOff": "why the agent ends stands in kubectl logs {pod} -c checkpointheal-agent --previous",
}


class Problem(NamedTuple):
    """What is amiss and what mends it."""

    about: str
    sentence: str
    fix: str


@dataclass(frozen=True)
class PodStanding:
    """What is known of one pod."""

    name: str
    namespace: str
    uid: str
    node: str
    phase: str
    opted_in: bool
    agent: str
    """`running`, what keeps it from running, or `none`."""
    injection: str
    """Of whom and beside what, in a sentence."""
    place: Placed | Unplaced
    problems: tuple[Problem, ...]


def standing_of(pod: Json) -> PodStanding:
    """How the pod stands."""
    metadata = pod["metadata"]
    return PodStanding(
        name=metadata["name"],
        namespace=metadata.get("namespace", ""),
        uid=metadata["uid"],
        node=pod.get("spec", {}).get("nodeName") or "none yet",
        phase=_phase(pod),
        opted_in=opted_in(pod),
        agent=_agent(pod),
        injection=_injection(pod),
        place=_place(pod),
        problems=tuple(_problems(pod)),
    )


def opted_in(pod: Json) -> bool:
    """Whether its owner wants an agent in it."""
    return bool((pod["metadata"].get("labels") or {}).get(INJECT) == "true")


def has_agent(pod: Json) -> bool:
    """Whether the sidecar stands in its spec."""
    return any(each.get("name") == AGENT for each in pod.get("spec", {}).get("initContainers") or ())


def why_not_injected(pod: Json) -> tuple[str, str]:
    """Why an opted-in pod has no agent, and what to do."""
    refused = refusal(pod)
    anew = "then let the pod be made anew: kubectl delete pod " + str(pod["metadata"]["name"])
    if refused is not None:
        return f"{refused.reason}: {refused.message}", f"mend that in the pod template, {anew}"
    return (
        "it could be injected, but the webhook did not answer when it was made",
        f"look at the webhook (kubectl get pods -A -l app.kubernetes.io/part-of=checkpointheal), {anew}",
    )


def _place(pod: Json) -> Placed | Unplaced:
    try:
        return place(Metadata.model_validate(pod["metadata"]))
    except ValidationError as error:
        return Unplaced(Reason.UNREADABLE_POD, Reason.UNREADABLE_POD.tell(what=error.errors()[0]["msg"]))


def _phase(pod: Json) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    return str(pod.get("status", {}).get("phase") or "Unknown")


def _agent(pod: Json) -> str:
    if not has_agent(pod):
        return "none"
    known = pod.get("status", {}).get("initContainerStatuses") or ()
    state = next((each.get("state") or {} for each in known if each.get("name") == AGENT), {})
    if "running" in state:
        return "running"
    if "terminated" in state:
        return f"ended ({state['terminated'].get('exitCode')})"
    return str(state.get("waiting", {}).get("reason") or "not started")


def _injection(pod: Json) -> str:
    marker = (pod["metadata"].get("annotations") or {}).get(INJECTED)
    if marker is None:
        return "no webhook has marked it" if has_agent(pod) else "not injected"
    try:
        told = json.loads(marker)
        notes = f"; notes: {', '.join(map(str, told['notes']))}" if told.get("notes") else ""
        build = f" by build {told['build']}" if told.get("build") else ""
        return f"injected{build} beside container {told.get('trainer')}{notes}"
    except (ValueError, AttributeError, TypeError, RecursionError):
        return "injected; its annotation cannot be read"


def _problems(pod: Json) -> Iterator[Problem]:
    name = str(pod["metadata"]["name"])
    about = f"pod {name}"
    if not opted_in(pod):
        yield Problem(about, f"{about} is not opted in: it has no agent and is never healed", OPT_IN)
        return
    if not has_agent(pod):
        why, fix = why_not_injected(pod)
        yield Problem(about, f"{about} has no agent: {why}", fix)
    elif (agent := _agent(pod)) in STUCK:
        yield Problem(about, f"the agent of {about} does not start: {agent}", STUCK[agent].format(pod=name))
    if isinstance(found := _place(pod), Unplaced):
        yield Problem(
            about, f"nobody can tell the place of {about}: {found.message}", "see docs/injection.md for marks"
        )
    yield from _scheduling(pod, about)


def _scheduling(pod: Json, about: str) -> Iterator[Problem]:
    for each in pod.get("status", {}).get("conditions") or ():
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            message = each.get("message") or each.get("reason") or "it is not said why"
            yield Problem(about, f"{about} has no node: {message}", "make room, or change what the pod asks for")
