"""A member whose memory goes wrong after its heal is found out, and all that came of it is left behind."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from builders_bad_hour import BadHour, a_bad_hour
from checkpointheal_operator.core.reasons import Reason, Rung

pytestmark = [pytest.mark.kills, pytest.mark.timeout(3600)]

KEPT = 4
"""Generations that an arena holds: two are sealed from the wrong weight on, and those before must still be there."""
SICK = 1


async def its_trainer(hour: BadHour) -> None:
    hour.hit_trainer(SICK)


async def its_pod(hour: BadHour) -> None:
    await hour.delete_pod(SICK)


async def begins(hour: BadHour, number: int, rung: Rung, reason: Reason) -> None:
    """Wait for that epoch."""
    await hour.until(lambda: len(hour.begun) >= number, f"epoch {number}")
    assert (hour.begun[number - 1].order.rung, hour.begun[number - 1].reason) == (rung, reason)


async def goes_wrong(hour: BadHour, ended: int) -> None:
    """A weight changes, and so many epochs have ended when that was noticed."""
    hour.make_sick(SICK)
    await hour.until(lambda: len(hour.ended) >= ended, "the end of its probation")
    over = hour.ended[ended - 1]
    assert (over.reason, [str(member) for member in over.lost]) == (Reason.PROBATION_FAILED, [f"{SICK}/0"])


@pytest.mark.parametrize(
    ("lose", "rungs"),
    [
        pytest.param(its_trainer, (Rung.OWN_MEMORY, Rung.OWN_MEMORY), id="from its own memory"),
        pytest.param(its_pod, (Rung.PEER,), id="from a peer"),
    ],
)
def test_a_weight_that_changes_after_a_heal_is_found_out_and_the_job_ends_as_if_it_had_not(
    tmp_path: Path, lose: Callable[[BadHour], Awaitable[None]], rungs: tuple[Rung, ...]
) -> None:
    """Each rung is tried once. This script has no checkpoint but its beginning, so every wrong byte would show."""

    async def story() -> None:
        async with a_bad_hour(tmp_path, slots=KEPT) as hour:
            await lose(hour)
            for number, rung in enumerate(rungs, start=2):
                await begins(hour, number, rung, Reason.EVERYONE_WAITS)
                await goes_wrong(hour, number)
            await begins(hour, len(rungs) + 2, Rung.CHECKPOINT, Reason.PROBATION_EXHAUSTED)
            hour.wrong_fallbacks.clear()
            await hour.trains_on()

    asyncio.run(story())


def test_a_weight_that_changes_once_costs_no_more_than_the_steps_since(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_bad_hour(tmp_path, slots=KEPT) as hour:
            await its_trainer(hour)
            await begins(hour, 2, Rung.OWN_MEMORY, Reason.EVERYONE_WAITS)
            await goes_wrong(hour, 2)
            await begins(hour, 3, Rung.OWN_MEMORY, Reason.EVERYONE_WAITS)
            assert hour.begun[2].order.step == hour.ended[1].sound
            await hour.trains_on()

    asyncio.run(story())
