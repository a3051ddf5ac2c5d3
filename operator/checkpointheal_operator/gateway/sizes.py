"""How much may the reports of one pod hold, that are all kept?

Each kind of thing is bounded by the contract; here it is their number in all. Derived from what an agent can say that
keeps private parts of as many members as the contract lets it name. Must not know HTTP.
"""

from collections.abc import Callable

from checkpointheal.contract.report import MANY, AgentReport
from checkpointheal.contract.seats import Seats, seat_uid
from checkpointheal_operator.core.facts import Heard

THINGS, OF_A_FURTHER_SEAT = MANY + 256, 128
"""An agent names its members' parts, 64 steps that passed, and a few generations, flaws and heals: 80 where it keeps no
more than a buddy's."""
STEPS, STEPS_OF_A_FURTHER_SEAT = 8 * MANY, 512
"""A keep holds three steps of a member, and those that are named."""


def things(report: AgentReport) -> int:
    """That are kept as objects of their own."""
    kept = (report.generations, report.passed, report.private_held, report.flaws, report.conditions, report.serving)
    return sum(map(len, kept))


def steps(report: AgentReport) -> int:
    """Whose private parts it names."""
    return len(report.private_own) + sum(len(each.steps) for each in report.private_held)


def is_too_much(report: AgentReport, pod_uid: str, seats: Seats | None, heard: Callable[[str], Heard | None]) -> bool:
    """Whether this report, with those that were heard of the pod's other seats, holds more than any agent would say."""
    further = seats.count - 1 if seats is not None else 0
    uids = {seat_uid(pod_uid, local_rank) for local_rank in range(further + 1)} - {report.pod_uid}
    others = [each.report for uid in sorted(uids) if (each := heard(uid)) is not None] if further else []
    return (
        sum(map(things, (report, *others))) > THINGS + further * OF_A_FURTHER_SEAT
        or sum(map(steps, (report, *others))) > STEPS + further * STEPS_OF_A_FURTHER_SEAT
    )
