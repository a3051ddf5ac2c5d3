"""Is a pod opted in, does an agent stand beside its trainer, and which place does it hold?

Pure: from the pod as the API server has it, to one standing with its problems. Must not know which policy asks.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core import pod_trouble
from checkpointheal_operator.core.identity import Placed, Unplaced, place
from checkpointheal_operator.core.injection_parts import AGENT
from checkpointheal_operator.core.injection_settings import INJECT, INJECTED
from checkpointheal_operator.core.pod_manifest import Metadata
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.refused import refusal
from checkpointheal_operator.plugin.trouble import OUR_PODS

OPT_IN = f'put the label {INJECT}: "true" into the pod template, and let its pods be made anew'
MISSED = (
    f"look at the webhook ({OUR_PODS}) and at the namespace "
    "(kubectl get namespace {namespace} --show-labels), {anew}"
)
REFUSED = "mend that in the pod template, {anew}"
ANEW = "then let the pod be made anew: kubectl delete pod {pod}"
FIXES = {
    Reason.AGENT_IMAGE_UNAVAILABLE: "the pull secrets that count are the pod's own: imagePullSecrets of the pod "
    "template or of its ServiceAccount; kubectl describe pod {pod} tells what the registry said",
    Reason.AGENT_CANNOT_START: f"why stands in kubectl logs {{pod}} -c {AGENT} --previous, or in kubectl describe pod "
    "{pod}",
    Reason.AGENT_OUT_OF_MEMORY: "write it into the pod template, and let its pods be made anew",
}
"""What to do or to look at, besides what the operator's sentence says already."""


RUNNING = "running"
STATUSES = ("initContainerStatuses", "ephemeralContainerStatuses")


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
    if not pod_trouble.has_agent(pod):
        return "none"
    status = pod.get("status", {})
    known = [each for kind in STATUSES for each in status.get(kind) or ()]
    state = next((each.get("state") or {} for each in known if each.get("name") == AGENT), {})
    if "running" in state:
        return RUNNING
    if "terminated" in state:
        return f"ended ({state['terminated'].get('exitCode')})"
    return str(state.get("waiting", {}).get("reason") or "not started")


def _injection(pod: Json) -> str:
    marker = (pod["metadata"].get("annotations") or {}).get(INJECTED)
    if marker is None:
        return "no webhook has marked it" if pod_trouble.has_agent(pod) else "not injected"
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
    if _agent(pod) != RUNNING and (found := pod_trouble.trouble(pod)) is not None:
        yield Problem(about, found.message, _fix(pod, found.reason))
    if isinstance(where := _place(pod), Unplaced):
        yield Problem(
            about, f"nobody can tell the place of {about}: {where.message}", "see docs/injection.md for marks"
        )
    yield from _scheduling(pod, about)


def _fix(pod: Json, reason: Reason) -> str:
    metadata = pod["metadata"]
    names = {"pod": str(metadata["name"]), "namespace": str(metadata.get("namespace", ""))}
    if reason != Reason.NOT_INJECTED:
        return FIXES[reason].format(**names)
    refused = refusal(pod)
    told = REFUSED if refused is not None and refused.sure else MISSED
    return told.format(anew=ANEW.format(**names), **names)


def _scheduling(pod: Json, about: str) -> Iterator[Problem]:
    scheduled = pod_trouble.condition(pod, pod_trouble.SCHEDULED)
    if scheduled.get("status") == "False":
        message = scheduled.get("message") or scheduled.get("reason") or "it is not said why"
        yield Problem(about, f"{about} has no node: {message}", "make room, or change what the pod asks for")
