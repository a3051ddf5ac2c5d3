"""Whatever an agent can say is kept, and what one pod can have us keep is bounded."""

from collections.abc import Mapping

import pytest

from checkpointheal.agent.keep import LATEST
from checkpointheal.agent.passed import LIMIT
from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.report import MANY, AgentReport, Flaw, Generation, Passed, PrivateHeld
from checkpointheal.contract.seats import MOST_SEATS, Seats, seat_uid
from checkpointheal.contract.signals import Signals
from checkpointheal_operator.core.facts import Heard
from checkpointheal_operator.gateway.app import REPORT_LIMIT
from checkpointheal_operator.gateway.sizes import is_too_much

LATE = 10**7
DIGEST = "0" * 32


def held(members: int, steps: int = 2 * LATEST) -> tuple[PrivateHeld, ...]:
    last = range(LATE, LATE + steps)
    return tuple(PrivateHeld(member=MemberId(replica=each), steps=tuple(last)) for each in range(members))


def a_report(uid: str = "uid-0", **said: object) -> AgentReport:
    where = Endpoint(host="h" * 253, port=7460)
    known = {"job": "j" * 253, "pod": "p" * 253, "member": MemberId(replica=0), "agent": "a" * 32}
    return AgentReport.model_validate({**known, "pod_uid": uid, "endpoint": where, "sequence": 1, **said})


def a_full_one(uid: str = "uid-0", members: int = MANY, own: int = MANY) -> AgentReport:
    """Of an agent whose probation is the longest, that has every flaw, and keeps parts of so many members."""
    signals = Signals(loss=1.2345678901234567, grad_norm=1.2345678901234567)
    generation = Generation(step=LATE, schema_digest=DIGEST, state_digest=DIGEST, bytes=1 << 40, private=True, epoch=99)
    passed = [
        Passed(step=LATE + each, epoch=99, schema_digest=DIGEST, state_digest=DIGEST, signals=signals)
        for each in range(LIMIT)
    ]
    flaws = [Flaw(reason="r" * 64, message="m" * 1000)] * 16
    return a_report(
        uid,
        generations=[generation] * 8,
        passed=passed,
        private_held=held(members),
        private_own=range(LATE, LATE + own),
        flaws=flaws,
        conditions=[each.reason for each in flaws],
        serving=["s" * 253] * 8,
    )


def nobody(_uid: str) -> Heard | None:
    return None


def hearing(*reports: AgentReport) -> Mapping[str, Heard]:
    return {each.pod_uid: Heard(report=each, at=0, agent_since=0, trainer_since=0) for each in reports}


def test_an_agent_that_keeps_parts_of_as_many_members_as_it_may_name_is_heard() -> None:
    report = a_full_one()
    assert not is_too_much(report, "uid-0", None, nobody)
    assert len(report.model_dump_json().encode()) < REPORT_LIMIT


@pytest.mark.parametrize("count", [2, 8, MOST_SEATS])
def test_so_are_all_seats_of_a_pod(count: int) -> None:
    seats = Seats(pod=MemberId(replica=0), count=count)
    others = hearing(*(a_full_one(seat_uid("uid-0", each), members=4, own=16) for each in range(1, count)))
    assert not is_too_much(a_full_one(), "uid-0", seats, others.get)


@pytest.mark.parametrize(
    "said",
    [
        {"private_held": held(MANY, 9)},
        {"private_held": held(9, MANY)},
        {"private_held": held(MANY), "passed": [Passed(step=1, epoch=1)] * 300},
        {"flaws": [Flaw(reason="r")] * MANY, "conditions": ["r"] * MANY},
    ],
)
def test_more_than_any_agent_says_is_too_much(said: dict[str, object]) -> None:
    assert is_too_much(a_report(**said), "uid-0", None, nobody)


def test_what_one_seat_says_leaves_its_pods_others_less() -> None:
    seats = Seats(pod=MemberId(replica=0), count=2)
    first, second = a_full_one(), a_full_one("uid-0.1")
    assert not is_too_much(second, "uid-0", seats, nobody)
    assert is_too_much(second, "uid-0", seats, hearing(first).get)
    assert not is_too_much(first, "uid-0", seats, hearing(first).get)
