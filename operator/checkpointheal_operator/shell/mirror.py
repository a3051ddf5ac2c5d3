"""What stands in the API server of one kind, as far as was heard?

Pure: lists, events and our own writes go in, in any order and more than once; what is left is what the server has.
Versions are compared as numbers, which the API promises of one kind's objects. Must not know how anything was read.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.injection_parts import AGENT
from checkpointheal_operator.core.pod_trouble import AGENT_LISTS, agent_status, has_agent

Place = tuple[str, str]
"""Namespace and name."""
_NAMES, _MARKS = ("name", "namespace", "uid", "resourceVersion"), ("labels", "annotations", "ownerReferences")
METADATA = frozenset((*_NAMES, *_MARKS, "creationTimestamp", "deletionTimestamp"))
"""What is read of a pod's."""
AGENT_ALONE = [{"name": AGENT}]
"""Of an agent's container its name is read. One list for all pods."""


def as_it_is(found: Json) -> Json:
    """All of it is kept."""
    return found


Changed = Callable[[Json | None, Json | None], None]
"""Hears of an object as it was held and as it is held now; None: not at all."""


class Mirror:
    """Objects of one kind. Whoever reads one must not change it. `changed` hears of each change of what is held."""

    def __init__(self, changed: Changed, slim: Callable[[Json], Json] = as_it_is) -> None:
        self._changed, self.slim = changed, slim
        self._held: dict[str, dict[str, Json]] = {}
        self._places: dict[str, Place] = {}
        self._gone: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Json]:
        return (each for names in self._held.values() for each in names.values())

    def get(self, namespace: str, name: str) -> Json | None:
        """One object."""
        return self._held.get(namespace, {}).get(name)

    def by_uid(self, uid: str) -> Json | None:
        """That life of whatever name."""
        return self.get(*self._places[uid]) if uid in self._places else None

    def inside(self, namespace: str) -> tuple[Json, ...]:
        """All of a namespace."""
        return tuple(self._held.get(namespace, {}).values())

    def namespaces(self) -> set[str]:
        """Where there is anything."""
        return set(self._held)

    def replace(self, items: Iterable[Json], version: str) -> None:
        """A whole list as of `version`: what it lacks is gone, unless it was heard of later."""
        as_of, listed = _number(version), set()
        for each in items:
            listed.add(_uid(each))
            self.put(each)
        missing = [each for each in self if _uid(each) not in listed and _version(each) <= as_of]
        for each in missing:
            self._let_go(each)
        self.passed(version)

    def put(self, found: Json, *, ours: bool = False) -> None:
        """It is or was like this: an older truth than what is held changes nothing. What is `ours` nobody is told."""
        (namespace, name), uid = _place(found), _uid(found)
        held = self.get(namespace, name)
        if uid in self._gone or (held is not None and _version(found) <= _version(held)):
            return
        if held is not None:
            self._places.pop(_uid(held))
        now = self._held.setdefault(namespace, {})[name] = self.slim(found)
        self._places[uid] = (namespace, name)
        if not ours and (held is None or _but_version(held) != _but_version(now)):
            self._changed(held, now)

    def drop(self, uid: str, version: str = "") -> None:
        """That life is over, and nothing that was said of it before counts any more."""
        held = self.by_uid(uid)
        self._gone[uid] = max(_number(version), _version(held) if held else 0)
        if held is not None:
            self._let_go(held)

    def passed(self, version: str) -> None:
        """All that happened up to `version` was heard: nothing older can come late."""
        self._gone = {uid: at for uid, at in self._gone.items() if at > _number(version)}

    def _let_go(self, held: Json) -> None:
        (namespace, name), uid = _place(held), _uid(held)
        del self._places[uid], self._held[namespace][name]
        if not self._held[namespace]:
            del self._held[namespace]
        self._changed(held, None)


def slim_pod(pod: Json) -> Json:
    """What is read of a pod: a thousand of them cost a few megabytes, not a hundred."""
    spec, status = pod.get("spec", {}), pod.get("status", {})
    agent = {each: AGENT_ALONE for each in AGENT_LISTS if has_agent(pod, each)}
    return {
        "metadata": {key: value for key, value in pod["metadata"].items() if key in METADATA},
        "spec": {"nodeName": spec.get("nodeName", "")} | agent,
        "status": {key: status[key] for key in ("phase", "podIP") if key in status}
        | _readiness(status)
        | _ails(agent_status(pod)),
    }


def _readiness(status: Json) -> Json:
    told = [each for each in status.get("conditions", ()) if each.get("type") == "Ready"]
    return {"conditions": [{key: each.get(key, "") for key in ("type", "status")} for each in told]} if told else {}


def _ails(said: Mapping[str, Any]) -> Json:
    """What is said of an agent that waits or has ended; of one that runs and always did, nothing."""
    states = {key: _stopped(said.get(key) or {}) for key in ("state", "lastState")}
    if not any(states.values()):
        return {}
    return {"initContainerStatuses": [{"name": AGENT, "image": said.get("image", "")} | states]}


def _stopped(state: Mapping[str, Any]) -> Json:
    return {key: state[key] for key in ("waiting", "terminated") if state.get(key)}


def _place(found: Json) -> Place:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


def _uid(found: Json) -> str:
    return str(found["metadata"]["uid"])


def _but_version(found: Json) -> Json:
    """Most of what changes in a pod is not held: then nothing has changed but the version."""
    return found | {"metadata": found["metadata"] | {"resourceVersion": ""}}


def _version(found: Json) -> int:
    return _number(found["metadata"]["resourceVersion"])


def _number(version: str) -> int:
    return int(version) if version.isascii() and version.isdecimal() else 0
