"""Whatever is hit, whenever, alone or two at once: the job ends as if nothing had happened."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from blows import ANY_INSTANT
from builders_bad_hour import BadHour, a_bad_hour

pytestmark = [pytest.mark.kills, pytest.mark.timeout(3600)]

SEED = int(os.environ.get("SEED", "20261124"))
ALONE = int(os.environ.get("KILLS", "1")) * 10
TOGETHER = int(os.environ.get("KILLS", "1")) * 2
LONGEST_PAUSE = 8.0
"""Seconds to the next blow: as long as a heal takes, so that many of them fall into one."""


async def blow(hour: BadHour, dice: random.Random, rank: int) -> None:
    """Something happens to a member."""
    await dice.choice(ANY_INSTANT)(hour, dice, rank)


def test_a_blow_at_any_instant(tmp_path: Path) -> None:
    dice = random.Random(SEED)

    async def story() -> None:
        async with a_bad_hour(tmp_path) as hour:
            for _ in range(ALONE):
                await asyncio.sleep(dice.uniform(0, LONGEST_PAUSE))
                await blow(hour, dice, dice.randrange(3))
            await hour.trains_on()

    asyncio.run(story())


def test_a_blow_to_two_members_at_once(tmp_path: Path) -> None:
    dice = random.Random(SEED + 1)

    async def story() -> None:
        async with a_bad_hour(tmp_path) as hour:
            for _ in range(TOGETHER):
                await asyncio.gather(*(blow(hour, dice, rank) for rank in dice.sample(range(3), 2)))
                await hour.trains_on()

    asyncio.run(story())
