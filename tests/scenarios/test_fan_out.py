"""Many recipients want the state of one donor: nobody serves more than it may, and everybody gets it."""

from collections import Counter
from math import ceil

import pytest

from simulation import Simulation

TAKES = 10.0
"""Seconds for each transfer."""
ROUND = 0.5
STEP = 5
SLACK = 5.0
"""Seconds for an epoch's end and for its beginning; besides, words and decisions take rounds."""


def seconds(transfers: int) -> float:
    """For so many, one after the other."""
    return transfers * (TAKES + 3 * ROUND) + SLACK


class FanOut(Simulation):
    """Everybody but one has lost its state at the same moment, and each transfer takes its time."""

    def __init__(self, recipients: int, limit: int) -> None:
        super().__init__(recipients + 1, 1, donor_limit=limit, buddies=recipients)
        self.go_on()
        self.train_to(STEP)
        self.transfers_finish = False
        self.limit, self.since, self.got = limit, dict[int, float](), list[float]()
        for member in self.policy.members()[1:]:
            self.replace_pod(member)

    def live(self) -> None:
        """A round: transfers that are through end, others begin."""
        self.go_round()
        for member, pod in self.pods.items():
            fetching = pod.agent.fetching if pod.agent is not None else None
            if fetching is not None and self.now >= self.since.setdefault(fetching.attempt, self.now) + TAKES:
                self.fetch(member)
                self.got.append(self.now)
        self.now += ROUND

    @property
    def giving(self) -> Counter[str]:
        """By donor: how many receive from it."""
        fetching = [pod.agent.fetching for pod in self.pods.values() if pod.agent is not None]
        return Counter(each.donors[0].pod for each in fetching if each is not None)


@pytest.mark.parametrize(
    ("recipients", "limit"),
    [*((recipients, 2) for recipients in range(1, 17)), (3, 1), (16, 1), (5, 4), (16, 4)],
)
def test_a_donor_serves_no_more_than_its_limit_and_nobody_starves(recipients: int, limit: int):
    job = FanOut(recipients, limit)
    began, most = job.now, 0
    while not job.is_training:
        job.live()
        most = max([most, *job.giving.values()])
        assert most <= limit
        assert job.now < began + seconds(ceil(recipients / limit)), "somebody starves"
    assert most == min(limit, recipients), "what is allowed is used"
    assert len(job.got) == recipients, "each received once"
    assert job.steps == {STEP}


def test_who_has_received_gives_to_those_who_still_wait():
    """Sixteen are served in the time of three transfers, not of eight: 2, then 6, then the rest."""
    job = FanOut(16, limit=2)
    began = job.now
    while not job.is_training:
        job.live()
    assert job.now < began + seconds(3)
