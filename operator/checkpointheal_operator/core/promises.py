"""Which place will the pods of a template find in themselves, before any of them is there?

For rendering without a cluster: a pod's index is read through the downward API and put into a variable's value. That
cannot calculate, so some layouts only the webhook can serve, which sees each pod. Must not know workloads' manifests.
"""

from dataclasses import dataclass

from checkpointheal_operator.core.identity import (
    COMPLETION_INDEX,
    GROUP_SIZE,
    JOB,
    RANK,
    RANKS,
    REPLICA,
    SOURCES,
    Source,
    Unplaced,
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
        return found if isinstance(found, Unplaced) else Seat(found.job, str(found.member))
    if (bad := misread(marks)) is not None:
        return bad
    job, source = marks.get(JOB, workload.job), _source(workload)
    if REPLICA in marks:
        return Seat(job, f"{marks[REPLICA]}/{marks.get(RANK, '0')}")
    if source is None:
        return Unplaced(Reason.NO_PLACE, Reason.NO_PLACE.tell(replica=REPLICA))
    ranks, size = int(marks.get(RANKS, "1")), int(marks.get(GROUP_SIZE, workload.size or 0))
    if source.first == 0 and ranks == 1 and (not source.group or workload.groups == 1):
        return Seat(job, f"$({INDEX})/0", ((INDEX, _path(source.index)),))
    if source.group and ranks == size:
        return Seat(job, f"$({GROUP})/$({INDEX})", ((GROUP, _path(source.group)), (INDEX, _path(source.index))))
    return Unplaced(Reason.NOT_IN_TEMPLATE, Reason.NOT_IN_TEMPLATE.tell(kind=workload.kind))


def _source(workload: Workload) -> Source | None:
    named = [each for each in SOURCES if each.name == workload.kind]
    return next((each for each in named if each.only is None or each.only[1] in ("", workload.role)), None)


def _path(key: str) -> str:
    return f"metadata.{'annotations' if key in ANNOTATED else 'labels'}['{key}']"
