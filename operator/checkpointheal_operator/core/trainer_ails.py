"""Why does a pod's trainer not come, by its kubelet's word?

Read from the pod as the API server has it; of a container that runs and always did there is nothing to tell. Must not
know what the trainer itself told its agent.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from checkpointheal_operator.core.injection_settings import INJECTED

Json = Mapping[str, Any]

BEGINS = (None, "", "ContainerCreating", "PodInitializing")
"""What a container waits for that comes up as it should."""
LONGEST = 160
"""Characters of a kubelet's message that are kept, of each pod in trouble."""


def trainer_ails(pod: Json) -> str:
    """What its kubelet says of the trainer's container, in a clause; empty where it runs, or comes up."""
    return next((_told(each) for each in ill(pod)), "")


def ill(pod: Json) -> list[dict[str, Any]]:
    """What is said of a trainer's container that waits in vain or ended badly, and no more of it than is told."""
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    found = [each for each in map(_ill, statuses) if each["state"] or each["lastState"]]
    name = _trainer(pod) if found else ""
    return [each for each in found if name in ("", each["name"])]


def _ill(said: Json) -> dict[str, Any]:
    state, before = said.get("state") or {}, said.get("lastState") or {}
    waiting = state.get("waiting") or {}
    kept: dict[str, Any] = _ended(state)
    if waiting.get("reason") not in BEGINS:
        kept = {"waiting": {"reason": waiting["reason"], "message": (waiting.get("message") or "")[:LONGEST]}}
    return {"name": said["name"], "state": kept, "lastState": _ended(before)}


def _ended(state: Json) -> dict[str, Any]:
    """One that ended with 0 was done."""
    ended = state.get("terminated") or {}
    known = {key: ended[key] for key in ("reason", "exitCode") if key in ended}
    return {"terminated": known} if ended.get("exitCode") else {}


def _trainer(pod: Json) -> str:
    """Which container it is, as the webhook marked it; empty where nobody did: then any may be it."""
    try:
        marker = json.loads((pod["metadata"].get("annotations") or {}).get(INJECTED) or "{}")
    except ValueError:
        return ""
    return str(marker.get("trainer") or "") if isinstance(marker, dict) else ""


def _told(said: Json) -> str:
    return "; ".join(_clauses(said["state"], said["lastState"]))


def _clauses(state: Json, before: Json) -> Iterator[str]:
    if "waiting" in state:
        yield ": ".join(each for each in state["waiting"].values() if each)
    if "terminated" in state:
        yield f"it ended: {_how(state['terminated'])}"
    if "terminated" in before:
        yield f"its last start ended: {_how(before['terminated'])}"


def _how(ended: Json) -> str:
    return f"{ended.get('reason') or 'Error'}, code {ended['exitCode']}"
