"""A donor under its cap never sends faster than it, and is not slower than it has to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as any_

from checkpointheal.channel.pace import Pace


@given(
    any_.floats(1, 1e9), any_.lists(any_.tuples(any_.integers(1, 1 << 23), any_.floats(0, 10)), min_size=1, max_size=20)
)
def test_what_went_is_never_ahead_of_the_cap(rate: float, sends: list[tuple[int, float]]) -> None:
    pace, now, gone = Pace(rate, 0.0), 0.0, 0
    for count, idle in sends:
        now += idle
        delay = pace.delay(now, count)
        now += delay
        assert delay >= 0
        assert gone <= rate * now * (1 + 1e-9) + 1e-6, "all that went before had time to go"
        gone += count


def test_who_was_idle_does_not_catch_up() -> None:
    pace = Pace(100.0, 0.0)
    assert [pace.delay(1000.0, 100), pace.delay(1000.0, 100), pace.delay(1000.0, 100)] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("rate", [None, 0])
def test_without_a_cap_nobody_waits(rate: float | None) -> None:
    pace = Pace(rate, 0.0)
    assert (pace.delay(0.0, 1 << 40), pace.delay(0.0, 1 << 40), pace.seconds(8)) == (0.0, 0.0, 0.0)


def test_a_cap_says_how_long_a_chunk_takes() -> None:
    assert Pace(4.0, 0.0).seconds(8) == 2.0
