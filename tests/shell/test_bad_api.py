"""An operator lives through the bad times of an API server. `make bad-api` does it 200 times each."""

import asyncio
import random

import pytest

from bad_server import BAD_TIMES, WATCHED, BadTime, nobody_refused, refused
from bad_times import lived_through
from fake_api import FakeApi

SEEDS = (0, 1)
OUTAGES = (21, 54, 61, 79)
"""Seconds. Tries come more and more rarely, up to a limit: those after these ends are late ones."""
HEALED_AFTER = 18.0
"""Seconds from the end of an outage: the longest pause, and a heal."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", BAD_TIMES)
def test_the_mirrors_equal_the_server_in_time_and_the_job_is_healed(name: str, seed: int):
    bad = BAD_TIMES[name]
    outcome = lived_through(name, bad, seed)
    assert outcome.behind <= bad.seconds
    assert outcome.restarts <= bad.restarts


def an_outage(seconds: float, method: str) -> BadTime:
    async def begin(api: FakeApi, _chance: random.Random) -> None:
        for kind in WATCHED:
            api.strike(kind, "reset")
        api.refuse = lambda asked: refused(500, "InternalError") if _is_of_job(asked.path, asked.method) else None
        await asyncio.sleep(seconds)
        api.refuse = nobody_refused

    def _is_of_job(path: str, asked: str) -> bool:
        return asked == method and "leases" not in path

    return BadTime(begin, 5, refuses=True)


@pytest.mark.parametrize("seconds", OUTAGES)
def test_a_server_that_lets_nobody_read_for_long_is_seen_as_it_is_within_five_seconds_of_its_return(seconds: float):
    outcome = lived_through("", an_outage(seconds, "GET"), 0)
    assert outcome.behind <= 5


@pytest.mark.parametrize("seconds", OUTAGES)
def test_a_heal_that_could_not_be_written_for_long_waits_no_longer_than_ten_seconds_more(seconds: float):
    outcome = lived_through("", an_outage(seconds, "PATCH"), 0)
    assert outcome.healed_after <= HEALED_AFTER
