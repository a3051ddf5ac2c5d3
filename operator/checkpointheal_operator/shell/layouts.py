"""Do the policy, the pods and their agents mean the same places?

A pod's own marks are what its agent, its token and its certificate go by; the policy may only say the same. Where they
differ, nobody knows whose state is whose, and a member could be given another one's. Pure; must not know what follows.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.identity import RANKS, REPLICA, Placed
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.view import Heard
from checkpointheal_operator.shell.objects import JobObjects, KnownPod, placed

LAYOUT = "spec.layout.ranks"


class Difference(NamedTuple):
    """A pod that is meant differently, and what helps."""

    pod: str
    what: str

    @property
    def message(self) -> str:
        """What the job's conditions say."""
        return Reason.LAYOUT_DIFFERS.tell(member="the job", what=self.told)

    @property
    def told(self) -> str:
        """What each of the job's pods is told."""
        return f"pod {self.pod} {self.what}"


def difference(objects: JobObjects, heard: Iterable[Heard]) -> Difference | None:
    """The first one, by the pods' names."""
    reported = {each.report.pod_uid: each.report.member for each in heard}
    _job, pods = placed(objects)
    here = sorted(
        ((where, pod) for where, pod in pods if "deletionTimestamp" not in pod.object["metadata"]),
        key=lambda each: str(each[1].object["metadata"]["name"]),
    )
    return next(_differences(here, objects.policy.spec.layout.ranks, reported), None)


def _differences(
    pods: list[tuple[Placed, KnownPod]], ranks: int | None, reported: Mapping[str, MemberId]
) -> Iterator[Difference]:
    first: tuple[str, int] | None = None
    for where, pod in pods:
        name, own = pod.object["metadata"]["name"], _ranks_of(pod)
        agent = reported.get(pod.object["metadata"]["uid"], where.member)
        if agent != where.member:
            yield Difference(name, _made_otherwise(agent, where.member))
        if ranks is not None and own not in (None, ranks):
            yield Difference(name, _other_ranks(where.member, ranks, own or 1))
        if ranks is not None and where.member.rank >= ranks:
            yield Difference(name, _no_such_rank(where.member, ranks))
        if own is not None:
            first = first or (name, own)
            if own != first[1]:
                yield Difference(name, _unlike(own, *first))


def _ranks_of(pod: KnownPod) -> int | None:
    """What its place was calculated with; None where annotations say the place itself."""
    return None if REPLICA in pod.marks else int(pod.marks.get(RANKS, "1"))


def _other_ranks(member: MemberId, ranks: int, own: int) -> str:
    return (
        f"was made with {RANKS} {own}, as {member}, and {LAYOUT} is {ranks}: annotate the pod template with "
        f"{RANKS}: {ranks}, or set {LAYOUT} to {own}"
    )


def _no_such_rank(member: MemberId, ranks: int) -> str:
    return f"has annotations for {member}, and {LAYOUT} is {ranks}, so ranks end at {ranks - 1}: mend one of them"


def _unlike(own: int, other: str, others: int) -> str:
    return f"was made with {RANKS} {own}, and pod {other} with {others}: make all pods from one template"


def _made_otherwise(agent: MemberId, member: MemberId) -> str:
    return (
        f"was made as {agent}, and its marks now say {member}: put its annotations back, or delete it, so that it "
        "is made anew"
    )
