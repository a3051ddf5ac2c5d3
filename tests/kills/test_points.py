"""Killed or stopped at any named point, a member comes back and the job ends as if nothing had happened."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from builders_bad_hour import SLOW_BYTES_PER_SECOND, BadHour, a_bad_hour

pytestmark = [pytest.mark.kills, pytest.mark.timeout(3600)]

TIMES = int(os.environ.get("KILLS", "1"))
"""How often each point is hit; `make kills` sets 5."""

IN_TRAINING = ("forward", "backward", "optimizer step", "before commit", "mid-seal", "sealed, not told")
IN_RESTORING = ("before apply", "during load")
HANG = 0
"""Instead of a signal: the whole process stands still, and looks as if it ran."""
SIGNALS = (signal.SIGKILL, signal.SIGSTOP)


async def hit_in_training(hour: BadHour, point: str, rank: int, number: int) -> None:
    hour.arm(rank, point, number)
    await hour.until(lambda: not hour.is_armed(rank), f"the point {point} on rank {rank}")


async def hit_in_restoring(hour: BadHour, point: str, rank: int, number: int) -> None:
    hour.arm(rank, point, number)
    hour.hit_trainer((rank + 1) % 3)
    await hour.until(lambda: not hour.is_armed(rank), f"the point {point} on rank {rank}")


@pytest.mark.parametrize(
    ("points", "hit"), [(IN_TRAINING, hit_in_training), (IN_RESTORING, hit_in_restoring)], ids=["training", "restoring"]
)
def test_a_trainer_hit_at_a_named_point_goes_on_where_it_was(
    tmp_path: Path, points: tuple[str, ...], hit: Callable[[BadHour, str, int, int], Awaitable[None]]
) -> None:
    async def story() -> None:
        async with a_bad_hour(tmp_path) as hour:
            for turn in range(TIMES):
                for place, point in enumerate(points):
                    await hit(hour, point, (turn + place) % 3, SIGNALS[(turn + place) % 2])
                    await hour.trains_on()

    asyncio.run(story())


def test_a_trainer_that_hangs_when_its_epoch_ends_is_killed_and_goes_on_where_it_was(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_bad_hour(tmp_path) as hour:
            for turn in range(TIMES):
                await hit_in_training(hour, "forward", turn % 3, HANG)
                hour.hit_trainer((turn + 1) % 3)
                await hour.trains_on()

    asyncio.run(story())


async def the_donors_agent(hour: BadHour, recipient: int, donor: int) -> None:
    del recipient
    hour.hit_agent(donor)


async def the_donors_pod(hour: BadHour, recipient: int, donor: int) -> None:
    del recipient
    await hour.delete_pod(donor)


async def the_recipients_agent(hour: BadHour, recipient: int, donor: int) -> None:
    del donor
    hour.hit_agent(recipient)


async def the_recipients_pod(hour: BadHour, recipient: int, donor: int) -> None:
    del donor
    await hour.delete_pod(recipient)


async def the_donors_agent_for_a_while(hour: BadHour, recipient: int, donor: int) -> None:
    """Silent for longer than the operator waits, not for ever."""
    del recipient
    hour.hit_agent(donor, signal.SIGSTOP)
    await asyncio.sleep(hour.job.loop.policy.agent_silence + 2)
    hour.hit_agent(donor, signal.SIGCONT)


VICTIMS = (
    the_donors_agent,
    the_donors_pod,
    the_recipients_agent,
    the_recipients_pod,
    the_donors_agent_for_a_while,
)


def test_whoever_is_lost_while_the_bytes_are_under_way_the_recipient_gets_them(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_bad_hour(tmp_path) as hour:
            hour.job.loop.policy = hour.job.loop.policy.model_copy(update={"bytes_per_second": SLOW_BYTES_PER_SECOND})
            for turn in range(TIMES):
                for place, hit in enumerate(VICTIMS):
                    recipient = (turn + place) % 3
                    await hour.delete_pod(recipient)
                    donor = await hour.transfer_to(recipient)
                    await hit(hour, recipient, int(donor.rpartition("-")[2]))
                    await hour.trains_on()

    asyncio.run(story())
