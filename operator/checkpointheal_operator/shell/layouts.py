"""Do the policy, the pods and their agents mean the same places?

A pod's own marks are what its agent, its token and its certificate go by; the policy may only say the same. Where they
differ, nobody knows whose state is whose, and a member could be given another one's. Pure; must not know what follows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import AgentReport
from checkpointheal.contract.seats import seat_uid
from checkpointheal_operator.core.annotations import LOCAL_RANKS
from checkpointheal_operator.core.facts import Heard
from checkpointheal_operator.core.identity import RANKS, REPLICA, Placed, members_of
from checkpointheal_operator.core.policy import MOST_MEMBERS, Policy
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.shell.astray import astray
from checkpointheal_operator.shell.objects import JobObjects, KnownPod, placed

LAYOUT = "spec.layout.ranks"


class Difference(NamedTuple):
    """Why nobody can go by the places of a job."""

    reason: Reason
    message: str
    """What the job's conditions say."""
    told: str
    """What each of the job's pods is told."""

    @classmethod
    def of(cls, pod: str, what: str) -> "Difference":
        """A pod that is meant differently, and what helps."""
        reason, told = Reason.LAYOUT_DIFFERS, f"pod {pod} {what}"
        return cls(reason, reason.tell(member="the job", what=told), told)


def too_large(policy: Policy) -> Difference | None:
    """A job of more members than a job can have: each of them would be named, in every look."""
    if not policy.is_too_large:
        return None
    reason = Reason.TOO_MANY_MEMBERS
    message = reason.tell(replicas=policy.replicas, ranks=policy.ranks, most=MOST_MEMBERS)
    return Difference(reason, message, message)


def unselectable(objects: JobObjects) -> Difference | None:
    """A selector that names what no label can be, and so selects nobody: an older definition took it."""
    if objects.pods or not (flaw := objects.policy.spec.selector.flaw):
        return None
    message = Reason.BAD_SELECTOR.tell(what=flaw)
    return Difference(Reason.BAD_SELECTOR, message, message)


def difference(objects: JobObjects, heard: Iterable[Heard], hidden: Iterable[AgentReport] = ()) -> Difference | None:
    """The first one: who was in the epoch and is not meant any more, then by the pods' names.

    `hidden`: what agents say whose pods are there and did not opt in.
    """
    reported = {each.report.pod_uid: each.report for each in heard}
    _job, pods = placed(objects)
    here = sorted(
        ((where, pod) for where, pod in pods if "deletionTimestamp" not in pod.object["metadata"]),
        key=lambda each: str(each[1].object["metadata"]["name"]),
    )
    apart = (Difference.of(*each) for each in astray(objects, hidden))
    return next(chain(apart, _differences(here, objects.policy.spec.layout.ranks, reported)), None)


def _differences(
    pods: list[tuple[Placed, KnownPod]], ranks: int | None, reported: Mapping[str, AgentReport]
) -> Iterator[Difference]:
    for where, pod in pods:
        name, own = pod.object["metadata"]["name"], _ranks_of(pod)
        for said, sits in _by_seat(where, pod, reported):
            if said.local_ranks != where.seats.count:
                yield Difference.of(name, _other_seats(said.local_ranks, where.seats.count))
            if said.member != sits:
                yield Difference.of(name, _made_otherwise(said.member, sits))
        if ranks is not None and own not in (None, ranks):
            yield Difference.of(name, _other_ranks(where.member, ranks, own or 1))
        if ranks is not None and where.member.rank >= ranks:
            yield Difference.of(name, _no_such_rank(where.member, ranks))
    yield from _unlike_the_first(pods, RANKS, _ranks_of)
    yield from _unlike_the_first(pods, LOCAL_RANKS, lambda pod: members_of(pod.marks)[1])


def _by_seat(
    where: Placed, pod: KnownPod, reported: Mapping[str, AgentReport]
) -> Iterator[tuple[AgentReport, MemberId]]:
    """What the agent of each of its seats says, where it has spoken, and who sits there."""
    for local_rank, member in enumerate(where.seats.members):
        said = reported.get(seat_uid(pod.object["metadata"]["uid"], local_rank))
        if said is not None:
            yield said, member


def _unlike_the_first(
    pods: list[tuple[Placed, KnownPod]], key: str, read: Callable[[KnownPod], int | None]
) -> Iterator[Difference]:
    told = [(pod.object["metadata"]["name"], own) for _, pod in pods if (own := read(pod)) is not None]
    for name, own in told:
        if own != told[0][1]:
            yield Difference.of(name, _unlike(key, own, *told[0]))


def _ranks_of(pod: KnownPod) -> int | None:
    """What its place was calculated with; None where annotations say the place itself."""
    ranks, local_ranks = members_of(pod.marks)
    return None if REPLICA in pod.marks and local_ranks == 1 else ranks


def _other_ranks(member: MemberId, ranks: int, own: int) -> str:
    return (
        f"was made with {RANKS} {own}, as {member}, and {LAYOUT} is {ranks}: annotate the pod template with "
        f"{RANKS}: {ranks}, or set {LAYOUT} to {own}"
    )


def _no_such_rank(member: MemberId, ranks: int) -> str:
    return f"has annotations for {member}, and {LAYOUT} is {ranks}, so ranks end at {ranks - 1}: mend one of them"


def _unlike(key: str, own: int, other: str, others: int) -> str:
    return f"was made with {key} {own}, and pod {other} with {others}: make all pods from one template"


def _other_seats(made: int, now: int) -> str:
    return (
        f"was made with {LOCAL_RANKS} {made}, and its annotations now say {now}: put them back, or delete it, so that "
        "it is made anew"
    )


def _made_otherwise(agent: MemberId, member: MemberId) -> str:
    return (
        f"was made as {agent}, and its marks now say {member}: put its annotations back, or delete it, so that it "
        "is made anew"
    )
