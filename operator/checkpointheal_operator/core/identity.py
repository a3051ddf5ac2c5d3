"""Which job does a pod belong to, and which place in it does the pod hold?

The first source of SOURCES whose marks a pod bears tells a group and an index; how many members a replica has turns
them into a member. Never `RANK`, which an elastic launcher gives out anew, and never the end of a pod's name. A pod of
several local ranks is placed among pods first; its seats then follow from that place.

A wart: a PyTorchJob without a master counts its workers from 0, but its pods do not tell that there is none. They are
taken to begin at 1, as they do behind a master.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.seats import MOST_SEATS, Seats, divides, pods_per_replica, seat_name
from checkpointheal_operator.core.annotations import LOCAL_RANKS, PREFIX
from checkpointheal_operator.core.pod_manifest import Metadata
from checkpointheal_operator.core.policy import MOST_MEMBERS
from checkpointheal_operator.core.reasons import Reason, quoted

JOB, REPLICA, RANK = PREFIX + "job", PREFIX + "replica", PREFIX + "rank"
RANKS, GROUP_SIZE = PREFIX + "ranks", PREFIX + "group-size"
LONGEST = 9
"""Digits of a number that anybody can mean."""
LONGEST_NAME = 253
"""Characters of a job's name, and of a seat's, as reports bear them."""
_NUMBERS = {REPLICA: 0, RANK: 0, RANKS: 1, GROUP_SIZE: 1, LOCAL_RANKS: 1}


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
    maker: tuple[str, str] | None = None
    """A key by which several controllers tell themselves apart, and this one's value; who lacks it may be its."""
    first: int = 0
    """The place of index 0."""


_KUBEFLOW, _LWS, _JOBSET = "training.kubeflow.org/", "leaderworkerset.sigs.k8s.io/", "jobset.sigs.k8s.io/"
_PYTORCH = (_KUBEFLOW + "operator-name", "pytorchjob-controller")
"""MPIJob, TFJob and JAXJob count their pods by the same labels, and mean other places."""
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
        maker=_PYTORCH,
    ),
    Source(
        "PyTorchJob",
        index=_KUBEFLOW + "replica-index",
        job=_KUBEFLOW + "job-name",
        only=(_KUBEFLOW + "replica-type", "worker"),
        maker=_PYTORCH,
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
    """The pod's seats hold these places of this job; `source` tells who says so."""

    job: str
    seats: Seats
    source: str

    @property
    def member(self) -> MemberId:
        """Who sits in the first one."""
        return self.seats.member(0)


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
    ranks, local_ranks = members_of(marks)
    source = next((each for each in SOURCES if _speaks(each, marks)), None)
    if REPLICA in marks:
        pod: MemberId | Unplaced = MemberId(replica=int(marks[REPLICA]), rank=int(marks.get(RANK, "0")))
    elif source is None:
        return _unplaced(Reason.NO_PLACE, replica=REPLICA)
    else:
        pod = _pod(source, marks, pods_per_replica(ranks, local_ranks))
    if isinstance(pod, Unplaced):
        return pod
    seats = Seats(pod=pod, count=local_ranks, ranks=ranks)
    return _beyond(seats) or _unnamed(metadata.name, seats) or _in_job(metadata, source, seats)


def members_of(marks: Mapping[str, str]) -> tuple[int, int]:
    """Members of a replica, and of a pod. Only of marks that are not `misread`."""
    return int(marks.get(RANKS, "1")), int(marks.get(LOCAL_RANKS, "1"))


def misread(marks: Mapping[str, str]) -> Unplaced | None:
    """The first annotation of ours that cannot be what it should, or that does not agree with the others."""
    for key, least in _NUMBERS.items():
        if key in marks and not _is_number(marks[key], least):
            wanted = f"a number, {least} or more"
            return _unplaced(Reason.BAD_ANNOTATION, key=key, text=quoted(marks[key]), wanted=wanted)
    return _misnamed(JOB, marks.get(JOB, "")) or _undivided(marks, *members_of(marks))


def _misnamed(key: str, job: str) -> Unplaced | None:
    """Why agents, tokens and certificates cannot bear it as it is."""
    if job.isprintable() and job == job.strip() and len(job) <= LONGEST_NAME:
        return None
    wanted = f"a name: {LONGEST_NAME} printable characters at most, without spaces around them"
    return _unplaced(Reason.BAD_ANNOTATION, key=key, text=quoted(job), wanted=wanted)


def _undivided(marks: Mapping[str, str], ranks: int, local_ranks: int) -> Unplaced | None:
    """Why a pod cannot have so many seats."""
    if local_ranks > MOST_SEATS:
        wanted = f"a number, {MOST_SEATS} at most"
        return _unplaced(Reason.BAD_ANNOTATION, key=LOCAL_RANKS, text=quoted(marks[LOCAL_RANKS]), wanted=wanted)
    if not divides(ranks, local_ranks):
        names = {"local_ranks": f"{LOCAL_RANKS} {local_ranks}", "ranks": f"{RANKS} {ranks}"}
        return _unplaced(Reason.LOCAL_RANKS_DO_NOT_DIVIDE, **names)
    blocks = pods_per_replica(ranks, local_ranks)
    if local_ranks > 1 and REPLICA in marks and int(marks.get(RANK, "0")) >= blocks:
        wanted = f"a pod's block of its replica's ranks, which are {blocks} with {RANKS} {ranks}: 0 to {blocks - 1}"
        return _unplaced(Reason.BAD_ANNOTATION, key=RANK, text=quoted(marks[RANK]), wanted=wanted)
    return None


def _beyond(seats: Seats) -> Unplaced | None:
    """A pod whose job would be larger than a job can be: one wrong digit must not cost its whole cluster."""
    last = seats.member(seats.count - 1)
    ranks = max(seats.ranks, last.rank + 1)
    if (last.replica + 1) * ranks <= MOST_MEMBERS:
        return None
    wanted = f"one in a job of {MOST_MEMBERS} members at most: look at {REPLICA}, {RANK} and {RANKS}"
    return _unplaced(Reason.BAD_ANNOTATION, key="the pod's place", text=f"{last} of {ranks} ranks", wanted=wanted)


def _unnamed(pod: str, seats: Seats) -> Unplaced | None:
    """A pod whose seats' names would be too long for any report."""
    if len(seat_name(pod, seats.count - 1, seats.count)) <= LONGEST_NAME:
        return None
    longest = LONGEST_NAME - len(seat_name("", seats.count - 1, seats.count))
    wanted = f"1, which it must be where the pod's name has more than {longest} characters"
    return _unplaced(Reason.BAD_ANNOTATION, key=LOCAL_RANKS, text=repr(str(seats.count)), wanted=wanted)


def _in_job(metadata: Metadata, source: Source | None, seats: Seats) -> Placed | Unplaced:
    marks, owner = metadata.marks(), metadata.owner()
    job = marks.get(JOB) or (marks.get(source.job) if source else "") or (owner.name if owner else "")
    if not job:
        return _unplaced(Reason.NO_JOB, job=JOB)
    if (bad := _misnamed("the job's name by the pod's marks or controller", job)) is not None:
        return bad
    return Placed(job, seats, "annotations" if REPLICA in marks or source is None else source.name)


def _speaks(source: Source, marks: Mapping[str, str]) -> bool:
    """A source that lacks one of its marks is silent: a guess would give a member another one's state."""
    if source.only is not None:
        key, value = source.only
        if key not in marks or value not in ("", marks[key].lower()):
            return False
    if source.maker is not None and marks.get(*source.maker) != source.maker[1]:
        return False
    return all(_is_number(marks.get(key, "")) for key in (source.index, source.group or source.index))


def _pod(source: Source, marks: Mapping[str, str], ranks: int) -> MemberId | Unplaced:
    """Ordinals fill replica after replica; where a group's size is unknown, a group must be a replica.

    `ranks`: pods of a replica.
    """
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
