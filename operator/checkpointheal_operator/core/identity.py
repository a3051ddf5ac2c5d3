"""Which job does a pod belong to, and which place in it does the pod hold?

The first source of SOURCES whose marks a pod bears tells a group and an index; how many members a replica has turns
them into a member. Never `RANK`, which an elastic launcher gives out anew, and never the end of a pod's name.

A wart: a PyTorchJob without a master counts its workers from 0, but its pods do not tell that there is none. They are
taken to begin at 1, as they do behind a master.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.annotations import PREFIX
from checkpointheal_operator.core.pod_manifest import Metadata
from checkpointheal_operator.core.reasons import Reason

JOB, REPLICA, RANK = PREFIX + "job", PREFIX + "replica", PREFIX + "rank"
RANKS, GROUP_SIZE = PREFIX + "ranks", PREFIX + "group-size"
LONGEST = 9
"""Digits of a number that anybody can mean."""
_NUMBERS = {REPLICA: 0, RANK: 0, RANKS: 1, GROUP_SIZE: 1}


@dataclass(frozen=True)
class Source:
    """A controller that marks its pods. Each field but the name is the key of a label or an annotation."""

    name: str
    index: str
    job: str = ""
    """Where it is empty, the pod's controller gives its name."""
    group: str = ""
    groups: str = ""
    """How many groups there are: of a single one the number says nothing."""
    size: str = ""
    """How many pods a group has."""
    only: tuple[str, str] | None = None
    """A key that a pod must bear besides, and its value in lower case; empty: any."""
    first: int = 0
    """The place of index 0."""


_KUBEFLOW, _LWS, _JOBSET = "training.kubeflow.org/", "leaderworkerset.sigs.k8s.io/", "jobset.sigs.k8s.io/"
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
SOURCES = (
    Source(
        "JobSet",
        index=COMPLETION_INDEX,
        job=_JOBSET + "jobset-name",
        group=_JOBSET + "job-index",
        groups=_JOBSET + "replicatedjob-replicas",
        only=(_JOBSET + "jobset-name", ""),
    ),
    Source(
        "LeaderWorkerSet",
        index=_LWS + "worker-index",
        job=_LWS + "name",
        group=_LWS + "group-index",
        size=_LWS + "size",
    ),
    Source(
        "PyTorchJob",
        index=_KUBEFLOW + "replica-index",
        job=_KUBEFLOW + "job-name",
        only=(_KUBEFLOW + "replica-type", "master"),
    ),
    Source(
        "PyTorchJob",
        index=_KUBEFLOW + "replica-index",
        job=_KUBEFLOW + "job-name",
        only=(_KUBEFLOW + "replica-type", "worker"),
        first=1,
    ),
    Source("Volcano", index="volcano.sh/task-index", job="volcano.sh/job-name"),
    Source(
        "RayCluster",
        index="ray.io/replica-host-index",
        job="ray.io/cluster",
        group="ray.io/worker-group-replica-index",
    ),
    Source("StatefulSet", index="apps.kubernetes.io/pod-index"),
    Source("Job", index=COMPLETION_INDEX, job="batch.kubernetes.io/job-name"),
)
"""Best first: a JobSet's pods are a Job's too, and a LeaderWorkerSet's are a StatefulSet's."""


@dataclass(frozen=True)
class Placed:
    """The pod holds this place of this job; `source` tells who says so."""

    job: str
    member: MemberId
    source: str


@dataclass(frozen=True)
class Unplaced:
    """Why nobody can tell."""

    reason: Reason
    message: str


def place(metadata: Metadata) -> Placed | Unplaced:
    """Find a pod's place, by its own marks alone: whoever asks gets the same answer, its agent and the gateway too."""
    marks = metadata.marks()
    if (bad := misread(marks)) is not None:
        return bad
    source = next((each for each in SOURCES if _speaks(each, marks)), None)
    if REPLICA in marks:
        member: MemberId | Unplaced = MemberId(replica=int(marks[REPLICA]), rank=int(marks.get(RANK, "0")))
    elif source is None:
        return _unplaced(Reason.NO_PLACE, replica=REPLICA)
    else:
        member = _member(source, marks, int(marks.get(RANKS, "1")))
    return _in_job(metadata, source, member)


def misread(marks: Mapping[str, str]) -> Unplaced | None:
    """The first annotation of ours that should be a number and is none."""
    for key, least in _NUMBERS.items():
        if key in marks and not _is_number(marks[key], least):
            wanted = f"a number, {least} or more"
            return _unplaced(Reason.BAD_ANNOTATION, key=key, text=repr(marks[key]), wanted=wanted)
    return None


def _in_job(metadata: Metadata, source: Source | None, member: MemberId | Unplaced) -> Placed | Unplaced:
    if isinstance(member, Unplaced):
        return member
    marks, owner = metadata.marks(), metadata.owner()
    job = marks.get(JOB) or (marks.get(source.job) if source else "") or (owner.name if owner else "")
    if not job:
        return _unplaced(Reason.NO_JOB, job=JOB)
    return Placed(job, member, "annotations" if REPLICA in marks or source is None else source.name)


def _speaks(source: Source, marks: Mapping[str, str]) -> bool:
    """A source that lacks one of its marks is silent: a guess would give a member another one's state."""
    if source.only is not None:
        key, value = source.only
        if key not in marks or value not in ("", marks[key].lower()):
            return False
    return all(_is_number(marks.get(key, "")) for key in (source.index, source.group or source.index))


def _member(source: Source, marks: Mapping[str, str], ranks: int) -> MemberId | Unplaced:
    """Ordinals fill replica after replica; where a group's size is unknown, a group must be a replica."""
    index = int(marks[source.index]) + source.first
    if not source.group or marks.get(source.groups) == "1":
        return MemberId(replica=index // ranks, rank=index % ranks)
    group, size = int(marks[source.group]), marks.get(GROUP_SIZE) or marks.get(source.size, "")
    if _is_number(size, 1):
        ordinal = group * int(size) + index
        return MemberId(replica=ordinal // ranks, rank=ordinal % ranks)
    if index < ranks and ranks > 1:
        return MemberId(replica=group, rank=index)
    return _unplaced(Reason.GROUP_SIZE_UNKNOWN, source=source.name, size=GROUP_SIZE)


def _is_number(text: str, least: int = 0) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= LONGEST and int(text) >= least


def _unplaced(reason: Reason, **names: str) -> Unplaced:
    return Unplaced(reason, reason.tell(**names))
