"""Who failed is started again later and later, and not for ever."""

from hypothesis import given
from hypothesis import strategies as st

from checkpointheal_operator.local.restarts import Again, Limits, NoMore, after_failure

TIMES = st.lists(st.floats(0, 1e6), max_size=12).map(sorted)


def pauses(limits: Limits, count: int) -> list[float]:
    """What follows `count` failures a second apart."""
    failures: tuple[float, ...] = ()
    found = []
    for now in range(count):
        after = after_failure(float(now), failures, limits)
        assert isinstance(after, Again)
        failures = after.failures
        found.append(after.pause)
    return found


def test_each_pause_is_twice_the_one_before_up_to_the_ceiling() -> None:
    assert pauses(Limits(restarts=9), 9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@given(TIMES, st.integers(0, 5))
def test_one_failure_more_than_the_limit_is_the_last(times: list[float], restarts: int) -> None:
    limits = Limits(restarts=restarts, window=1e9)
    failures: tuple[float, ...] = ()
    for number, now in enumerate(times, start=1):
        after = after_failure(now, failures, limits)
        assert isinstance(after, NoMore) == (number > restarts)
        if isinstance(after, NoMore):
            assert after.count == number
            return
        failures = after.failures


@given(st.floats(0, 1e6), TIMES)
def test_a_failure_older_than_the_window_is_forgotten(now: float, ages: list[float]) -> None:
    limits = Limits(restarts=100, window=60)
    after = after_failure(now, tuple(now - age for age in ages), limits)
    assert isinstance(after, Again)
    assert len(after.failures) == 1 + sum(now - age > now - 60 for age in ages)
    assert after.failures[-1] == now
