"""What is written down of each coordinate of an epoch: were two of its members ever alike in it, or do they differ?

Agents start again and leaders change, so nobody's memory tells it for good; what was learnt once stands in the record.
Members that an epoch began with one and the same bytes were alike by that. Must not know what follows.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from checkpointheal.contract.report import AgentReport
from checkpointheal_operator.core.alike import alike
from checkpointheal_operator.core.decisions import BeginEpoch
from checkpointheal_operator.core.epoch_record import EpochRecord
from checkpointheal_operator.core.view import JobView


def learnt(view: JobView) -> EpochRecord:
    """The latest epoch, with what its members' agents have read of it.

    Who was alike once is so for good, and who differs until two agree. Once the epoch is over, bytes may be a peer's
    because that gave them: then nobody becomes alike by them.
    """
    epoch, policy = view.epoch, view.policy
    if policy.replicas == 1 or not policy.probation_steps:
        return epoch
    of = epoch.number or None
    found = {each: alike(reports, of) for each, reports in by_coordinate(view, besides=epoch.alike).items()}
    same = {each for each, like in found.items() if like and (epoch.open or of is None)}
    apart = {*epoch.apart, *(each for each, like in found.items() if like is False)} - same
    return _with(epoch, {*epoch.alike, *same}, apart)


def begun(epoch: EpochRecord, decision: BeginEpoch) -> EpochRecord:
    """The next epoch: who goes on from memory holds what the vote believes, or each its own where they differ.

    Of a checkpoint, and of a fresh start, nobody can tell before it is read.
    """
    if decision.order.step is None:
        return epoch
    there = {each.member.coordinate for each in decision.members}
    return _with(epoch, there.difference(decision.apart), there.intersection(decision.apart))


def by_coordinate(view: JobView, besides: Iterable[int] = ()) -> Mapping[int, list[AgentReport]]:
    """The latest words of all agents, but of some coordinates."""
    found: defaultdict[int, list[AgentReport]] = defaultdict(list)
    left_out = frozenset(besides)
    for report in (each.report for each in view.heard if each.report.member.coordinate not in left_out):
        found[report.member.coordinate].append(report)
    return found


def _with(epoch: EpochRecord, alike: Iterable[int], apart: Iterable[int]) -> EpochRecord:
    known = tuple(sorted(alike)), tuple(sorted(apart))
    if known == (epoch.alike, epoch.apart):
        return epoch
    return epoch.but(alike=known[0], apart=known[1])
