"""Each pod has its share of the gateway, and what others ask is nothing to it."""

import pytest

from checkpointheal_operator.gateway import pace
from checkpointheal_operator.gateway.app import REPORT_LIMIT
from checkpointheal_operator.gateway.pace import A_REQUEST, A_SECOND, AT_ONCE, PATIENCE, Pace, TooMuch


class Desk:
    def __init__(self) -> None:
        self.now = 0.0
        self.pace = Pace(lambda: self.now)

    def take(self, pod_uid: str, cost: int = A_REQUEST, seats: int = 1) -> float:
        return self.pace.take(pod_uid, cost, seats)


def spent(desk: Desk, pod_uid: str = "uid-0", seats: int = 1) -> float:
    """What it may have at once, taken by small requests."""
    taken = 0
    while not desk.take(pod_uid, A_REQUEST, seats):
        taken += A_REQUEST
    return taken


def test_an_agent_that_reports_at_twenty_commits_a_second_waits_for_nothing() -> None:
    desk = Desk()
    for _ in range(2000):
        assert desk.take("uid-0") == desk.take("uid-0", 2 << 10) == 0.0
        desk.now += 0.05


def test_a_thousand_survivors_that_all_speak_at_once_wait_for_nothing() -> None:
    desk = Desk()
    waits = [desk.take(f"uid-{each}", 4 * A_REQUEST) for _ in range(10) for each in range(1000)]
    assert set(waits) == {0.0}


def test_every_seat_of_a_pod_may_begin_at_once() -> None:
    desk = Desk()
    assert max(desk.take("uid-0", 2 * A_REQUEST, 64) for _ in range(3 * 64)) < PATIENCE / 2


def test_the_largest_report_is_taken_at_once() -> None:
    assert Desk().take("uid-0", REPORT_LIMIT + A_REQUEST) == 0.0


def test_who_asks_for_more_waits_as_long_as_it_takes_and_is_served_then() -> None:
    desk = Desk()
    assert spent(desk) == AT_ONCE
    assert desk.take("uid-0") == pytest.approx(2 * A_REQUEST / A_SECOND)
    assert desk.take("uid-1") == 0.0
    desk.now += 4 * A_REQUEST / A_SECOND
    assert desk.take("uid-0") == 0.0


def test_who_does_not_wait_is_told_when_to_come_again_and_owes_nothing_for_that() -> None:
    desk = Desk()
    spent(desk)
    for _ in range(3):
        with pytest.raises(TooMuch, match="come again in 4 s") as told:
            desk.take("uid-0", 4 * A_SECOND - A_REQUEST)
        assert told.value.seconds == 4
    desk.now += 4
    assert desk.take("uid-0", 4 * A_SECOND - A_REQUEST) == 0.0


def test_who_asked_for_nothing_for_a_while_is_forgotten_and_who_owes_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MANY", 8)
    desk = Desk()
    for each in range(7):
        desk.take(f"uid-{each}")
    desk.now += 1
    spent(desk, "owes")
    desk.take("new")
    assert set(desk.pace._shares) == {"owes", "new"}
