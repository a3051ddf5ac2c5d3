"""Which seats of pods have spoken, in which namespace does each of them live, and by which labels is it selected?

A report names its seat by uid alone; which jobs it may concern is a matter of namespaces. Found once for each pod, not
at every look of every job. A pod whose opt-in label was taken away speaks on, and no watch tells of it: its token does.
Must not know what was said.
"""

from collections import defaultdict
from collections.abc import Set as AbstractSet

from checkpointheal.contract.seats import pod_of
from checkpointheal_operator.shell.mirror import Mirror


class Speakers:
    """Pods that have spoken. A pod may speak before the watch has told of it: until then it lives nowhere."""

    def __init__(self, pods: Mirror) -> None:
        self._pods = pods
        self._lives: dict[str, str] = {}
        self._labels: dict[str, dict[str, str]] = {}
        self._inside: defaultdict[str, set[str]] = defaultdict(set)
        self._unknown: set[str] = set()
        self._unlisted: set[str] = set()

    def spoke(self, pod_uid: str, proved: str) -> None:
        """It speaks. `proved`: where it lives, by its token, which is good for as long as its pod is there."""
        if not proved or self._pods.by_uid(pod_of(pod_uid)) is not None:
            self._unlisted.discard(pod_uid)
            return
        self._unlisted.add(pod_uid)
        self._unknown.discard(pod_uid)
        self._lives.setdefault(pod_uid, proved)
        self._inside[self._lives[pod_uid]].add(pod_uid)

    def unlisted(self, namespace: str) -> frozenset[str]:
        """Those there that spoke last when no watch told of their pods, though they are there."""
        return frozenset(uid for uid in self._unlisted if self._lives[uid] == namespace)

    def namespace(self, pod_uid: str) -> str:
        """Where it lives, or, of a pod that is gone, lived; empty where that is not known. It counts from now on."""
        if pod_uid in self._lives:
            return self._lives[pod_uid]
        pod = self._pods.by_uid(pod_of(pod_uid))
        if pod is None:
            self._unknown.add(pod_uid)
            return ""
        found = self._lives[pod_uid] = str(pod["metadata"]["namespace"])
        self._labels[pod_uid] = pod["metadata"].get("labels") or {}
        self._inside[found].add(pod_uid)
        self._unknown.discard(pod_uid)
        return found

    def labels(self, pod_uid: str) -> dict[str, str]:
        """By which a policy selects it; of a pod that is gone, those that it was last seen with."""
        pod = self._pods.by_uid(pod_of(pod_uid))
        if pod is not None:
            self._labels[pod_uid] = pod["metadata"].get("labels") or {}
        return self._labels.get(pod_uid, {})

    def inside(self, namespace: str) -> tuple[str, ...]:
        """All that live or lived there."""
        for each in tuple(self._unknown):
            self.namespace(each)
        return tuple(sorted(self._inside.get(namespace, ())))

    def keep_only(self, uids: AbstractSet[str]) -> None:
        """Forget every other pod."""
        for gone in self._lives.keys() - uids:
            where = self._lives.pop(gone)
            self._labels.pop(gone, None)
            self._inside[where].discard(gone)
            if not self._inside[where]:
                del self._inside[where]
        self._unknown &= uids
        self._unlisted &= uids
