"""Two pods of two trainers each: one trainer is lost, then a pod with both, and the job ends as if nothing had been."""

import asyncio
from pathlib import Path

import pytest

from builders_bad_hour import BadHour, a_bad_hour
from checkpointheal.contract.seats import pod_of
from checkpointheal_operator.core.reasons import Cause

pytestmark = [pytest.mark.kills, pytest.mark.timeout(3600)]


def lost(hour: BadHour, cause: Cause) -> set[str]:
    """Which members were healed for that cause."""
    return {str(seen.heal.recipient) for seen in hour.job.heals if seen.heal.healed and seen.heal.cause == cause}


def test_seats_come_back_one_by_one_and_together_and_end_like_an_undisturbed_run(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_bad_hour(tmp_path, replicas=4, local_ranks=2) as hour:
            hour.hit_trainer(1)
            await hour.trains_on()
            assert lost(hour, Cause.CRASHED) == {"1/0"}
            await hour.delete_pod(3)
            await hour.trains_on()
            assert lost(hour, Cause.REPLACED) == {"2/0", "3/0"}
            healed = [seen.heal for seen in hour.job.heals if seen.heal.cause == Cause.REPLACED]
            donors = {pod_of(heal.assignment.donors[0].pod_uid) for heal in healed if heal.assignment}
            assert donors == {hour.job.supervisor.pods()[0].claim.uid}

    asyncio.run(story())


def test_replicas_that_are_split_among_the_seats_of_their_own_pods_come_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_bad_hour(tmp_path, replicas=2, ranks=2, local_ranks=2) as hour:
            await hour.delete_pod(2)
            await hour.trains_on()
            assert lost(hour, Cause.REPLACED) == {"1/0", "1/1"}

    asyncio.run(story())
