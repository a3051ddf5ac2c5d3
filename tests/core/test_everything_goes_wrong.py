"""Whatever goes wrong and in whatever order words arrive, what was promised is kept. `make soak` looks for longer."""

import pytest

from machine import Tally, search

STEPS, RUNS_AT_ONCE = 10_000, 25


@pytest.mark.timeout(900)
def test_every_promise_is_kept_over_ten_thousand_steps() -> None:
    tally, number = Tally(), 0
    while tally.steps < STEPS:
        search(number, RUNS_AT_ONCE, tally)
        number += 1
    assert {ending.partition(":")[0] for ending in tally.endings} >= {"Peer", "OwnMemory", "Checkpoint"}
