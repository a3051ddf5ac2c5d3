"""Which place will the pods of a template find in themselves, before any of them is there?

For rendering without a cluster: a pod's index is read through the downward API and put into a variable's value. That
cannot calculate, so some layouts only the webhook can serve, which sees each pod. Must not know workloads' manifests.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from checkpointheal.contract.seats import pods_per_replica
from checkpointheal_operator.core.identity import (
    COMPLETION_INDEX,
    GROUP_SIZE,
    JOB,
    RANK,
    REPLICA,
    SOURCES,
    Source,
    Unplaced,
    members_of,
    misread,
    place,
)
from checkpointheal_operator.core.injection_parts import Seat
from checkpointheal_operator.core.pod_manifest import Metadata
from checkpointheal_operator.core.reasons import Reason

INDEX, GROUP = "CHECKPOINTHEAL_INDEX", "CHECKPOINTHEAL_GROUP"
ANNOTATED = frozenset({COMPLETION_INDEX})
"""Always an annotation, a label only on newer clusters."""


@dataclass(frozen=True)
class Workload:
    """What a manifest says of the pods that its controller will make from one template."""

    kind: str
    job: str
    groups: int = 1
    size: int | None = None
    """Pods in a group; None: it does not say."""
    role: str = ""
    """`master` or `worker`, where the kind has such."""


def promise(template: Metadata, workload: Workload) -> Seat | Unplaced:
    """Find the place of all pods of a template at once."""
    marks = template.marks()
    if workload.kind == "Pod":
        found = place(template)
        return found if isinstance(found, Unplaced) else Seat.of(found)
    if (bad := misread(marks)) is not None:
        return bad
    job, source = marks.get(JOB) or workload.job, _source(workload)
    if not job:
        return Unplaced(Reason.NO_JOB, Reason.NO_JOB.tell(job=f"{JOB}, or give the manifest a name of its own"))
    ranks, local_ranks = members_of(marks)
    if REPLICA in marks:
        return Seat(job, f"{marks[REPLICA]}/{marks.get(RANK, '0')}", (), local_ranks, ranks)
    if source is None:
        return Unplaced(Reason.NO_PLACE, Reason.NO_PLACE.tell(replica=REPLICA))
    pods = pods_per_replica(ranks, local_ranks)
    if source.first == 0 and pods == 1 and _counts_by_index(source, workload):
        return Seat(job, f"$({INDEX})/0", ((INDEX, _path(source.index)),), local_ranks, ranks)
    if source.group and pods == workload.size == int(marks.get(GROUP_SIZE, pods)):
        fields, told = ((GROUP, _path(source.group)), (INDEX, _path(source.index))), _lacking(source, marks, pods)
        return Seat(job, f"$({GROUP})/$({INDEX})", fields, local_ranks, ranks, told)
    return Unplaced(Reason.NOT_IN_TEMPLATE, Reason.NOT_IN_TEMPLATE.tell(kind=workload.kind))


def _counts_by_index(source: Source, workload: Workload) -> bool:
    """A single group counts as if there were none, where its pods tell that they will never be of several."""
    return not source.group or bool(source.groups and workload.groups == 1)


def _lacking(source: Source, marks: Mapping[str, str], pods: int) -> tuple[tuple[str, str], ...]:
    """The manifest tells how many pods a group has; its pods do not, and of one pod a group may as well be a part."""
    return () if source.size or GROUP_SIZE in marks or pods > 1 else ((GROUP_SIZE, str(pods)),)


def _source(workload: Workload) -> Source | None:
    named = [each for each in SOURCES if each.name == workload.kind]
    return next((each for each in named if each.only is None or each.only[1] in ("", workload.role)), None)


def _path(key: str) -> str:
    return f"metadata.{'annotations' if key in ANNOTATED else 'labels'}['{key}']"
