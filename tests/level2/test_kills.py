"""A rank is lost in the middle of a step: the others keep their process, and the job ends as if nothing had been."""

import asyncio
import json
import os
import random
import signal
from pathlib import Path

import pytest

from builders_bad_hour import BadHour, a_bad_hour
from builders_level2 import with_fsdp2
from checkpointheal_operator.core.reasons import Rung

pytestmark = [pytest.mark.kills, pytest.mark.timeout(1800)]

SCRIPT = Path(__file__).with_name("survivor.py")
SEED = int(os.environ.get("SEED", "20261124"))
TIMES = int(os.environ.get("KILLS", "1"))
POINTS = ("forward", "backward", "all-reduce", "before commit")
POINTS_OF = {
    "accumulating": (*POINTS, "between micro-batches"),
    # Before commit the others have gone on to a step whose private part the lost rank never had, and cannot go back.
    "on-demand": POINTS[:-1],
}
SHAPES = {"ddp": (3, 1), "accumulating": (3, 1), "on-demand": (3, 1), "hsdp": (2, 2)}
WRAPS = ("ddp", pytest.param("hsdp", marks=with_fsdp2))


def said(hour: BadHour, rank: int) -> list[dict]:
    return [json.loads(line) for line in (hour.folder / f"progress-{rank}.jsonl").read_text().splitlines()]


def lives(hour: BadHour, rank: int) -> int:
    """How many processes have trained as that rank."""
    return len({line["pid"] for line in said(hour, rank)})


def steps_back(hour: BadHour, rank: int) -> int:
    """The most that a rank ever went back."""
    reached = most = 0
    for line in said(hour, rank):
        most = max(most, reached - line["step"])
        reached = line["step"]
    return most


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_pod_that_comes_back_empty_has_its_state_from_a_peer_that_keeps_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrap: str
) -> None:
    monkeypatch.setenv("WRAP", wrap)

    async def story() -> None:
        async with a_bad_hour(tmp_path, SCRIPT, *SHAPES[wrap]) as hour:
            for rank in (0, hour.world - 1):
                await hour.delete_pod(rank)
                await hour.trains_on()
            assert {seen.heal.rung for seen in hour.job.heals} == {Rung.PEER}
            assert [lives(hour, rank) for rank in range(hour.world)] == [2, *[1] * (hour.world - 2), 2]

    asyncio.run(story())


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_rank_may_be_killed_at_any_instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrap: str) -> None:
    monkeypatch.setenv("WRAP", wrap)
    dice = random.Random(SEED)

    async def story() -> None:
        async with a_bad_hour(tmp_path, SCRIPT, *SHAPES[wrap]) as hour:
            hits = [0] * hour.world
            for _ in range(TIMES * 4):  # more, and `run` would rather wait than start a trainer again
                rank = dice.randrange(hour.world)
                await asyncio.sleep(dice.uniform(0, 0.5))
                hour.hit_trainer(rank)
                hits[rank] += 1
                await hour.trains_on()
            assert [lives(hour, rank) for rank in range(hour.world)] == [1 + each for each in hits]

    asyncio.run(story())


async def hit(hour: BadHour, rank: int, point: str, number: int) -> None:
    hour.arm(rank, point, number)
    await hour.until(lambda: not hour.is_armed(rank), f"the point {point} on rank {rank}")
    await hour.trains_on()


@pytest.mark.parametrize("wrap", [*WRAPS, "accumulating", "on-demand"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_survivors_keep_their_process_and_the_job_ends_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrap: str, number: int
) -> None:
    monkeypatch.setenv("WRAP", wrap)
    replicas, ranks = SHAPES[wrap]

    async def story() -> None:
        async with a_bad_hour(tmp_path, SCRIPT, replicas, ranks) as hour:
            hits = [0] * hour.world
            for turn in range(TIMES):
                for place, point in enumerate(POINTS_OF.get(wrap, POINTS)):
                    rank = (turn + place) % hour.world
                    await hit(hour, rank, point, number)
                    hits[rank] += 1
            assert [lives(hour, rank) for rank in range(hour.world)] == [1 + each for each in hits]
            assert max(steps_back(hour, rank) for rank in range(hour.world)) <= 1

    asyncio.run(story())


@pytest.mark.parametrize("wrap", WRAPS)
def test_one_that_is_lost_while_ranks_connect_costs_nobody_else_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrap: str
) -> None:
    monkeypatch.setenv("WRAP", wrap)

    async def story() -> None:
        async with a_bad_hour(tmp_path, SCRIPT, *SHAPES[wrap]) as hour:
            last = hour.world - 1
            for lost in (1, last):  # who waits for a connection, and who makes it, depends on the rank
                hour.arm(lost, "connecting", signal.SIGKILL)
                hour.hit_trainer(0)
                await hour.until(lambda lost=lost: not hour.is_armed(lost), f"rank {lost} connects")
                await hour.trains_on()
            lived = [lives(hour, rank) for rank in range(hour.world)]
            assert lived == [3, 2, *[1] * (hour.world - 3), 2]

    asyncio.run(story())
