"""A member whose memory goes wrong after its heal is found out, and all that came of it is left behind."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from builders_bad_hour import BadHour, a_bad_hour
from checkpointheal_operator.core.reasons import Reason, Rung

pytestmark = [pytest.mark.kills, pytest.mark.timeout(3600)]

KEPT = 6
"""Generations that an arena holds: so many steps may pass before somebody has noticed."""
SICK = 1


async def its_trainer(hour: BadHour) -> None:
    hour.hit_trainer(SICK)


async def its_pod(hour: BadHour) -> None:
    await hour.delete_pod(SICK)


@pytest.mark.parametrize(
    ("lose", "rungs"),
    [
        pytest.param(its_trainer, (Rung.OWN_MEMORY, Rung.OWN_MEMORY, Rung.CHECKPOINT), id="from its own memory"),
        pytest.param(its_pod, (Rung.PEER, Rung.CHECKPOINT), id="from a peer"),
    ],
)
def test_a_weight_that_changes_after_a_heal_is_found_out_and_the_job_ends_as_if_it_had_not(
    tmp_path: Path, lose: Callable[[BadHour], Awaitable[None]], rungs: tuple[Rung, ...]
) -> None:
    """Ends identical to the undisturbed run: from memory where that still holds a sound step, else from the start."""

    async def story() -> None:
        async with a_bad_hour(tmp_path, slots=KEPT) as hour:
            begun = len(hour.begun)
            await lose(hour)
            for number in range(1, len(rungs)):
                await hour.until(lambda: len(hour.begun) > begun and hour.job.loop.view.epoch.open, "a heal")
                assert hour.begun[-1].order.rung == rungs[number - 1]
                begun = len(hour.begun)
                hour.make_sick(SICK)
                await hour.until(lambda: hour.ended[-1].reason == Reason.PROBATION_FAILED, "a probation that failed")
                assert [str(member) for member in hour.ended[-1].lost] == [f"{SICK}/0"]
            await hour.until(lambda: len(hour.begun) > begun, "the last epoch")
            assert (hour.begun[-1].order.rung, hour.begun[-1].reason) == (rungs[-1], Reason.PROBATION_EXHAUSTED)
            hour.wrong_fallbacks.clear()
            await hour.trains_on()

    asyncio.run(story())
