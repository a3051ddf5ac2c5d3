"""A rank is lost between its last collective and its commit, where nothing is copied: whose private part of which step?

The others have made that update and cannot go back, so of the lost rank only the part before it is left.
"""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from builders_bad_hour import BadHour, an_hour
from checkpointheal.demo import reference
from checkpointheal_operator.core.decisions import BeginEpoch
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.reasons import Reason, Rung
from checkpointheal_operator.local.summary import summary

pytestmark = [pytest.mark.kills, pytest.mark.timeout(900)]

SCRIPT = Path(__file__).with_name("survivor.py")
LOST = 1


def policy(behind: str) -> Policy:
    return Policy(replicas=3, stopped_grace=1, private_behind=behind)


async def lose_before_commit(hour: BadHour) -> BeginEpoch:
    """How the job goes on."""
    hour.arm(LOST, "before commit", signal.SIGKILL)
    await hour.until(lambda: len(hour.begun) > 1, "the next epoch")
    await hour.trains_on()
    return hour.begun[1]


def ended(hour: BadHour) -> list[dict[str, str]]:
    """What each rank's state was at its end, part by part."""
    return [json.loads((hour.folder / f"fingerprint-{rank}.json").read_text()) for rank in range(hour.world)]


def batches_after(rank: int, updates: int) -> str:
    """Of a rank that has made so many updates."""
    text = reference.Text(rank, batch=2, length=32)
    for _ in range(updates):
        text.draw()
    return reference._hash(text.state_dict())


@pytest.fixture(autouse=True)
def on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRAP", "on-demand")


def test_without_a_word_the_job_goes_to_the_checkpoint(tmp_path: Path) -> None:
    async def story() -> None:
        async with an_hour(tmp_path, SCRIPT, policy("Refuse")) as hour:
            begun = await lose_before_commit(hour)
            assert (begun.order.step, begun.reason) == (None, Reason.PRIVATE_STATE_LOST)

    asyncio.run(story())


def test_where_the_policy_allows_it_the_lost_rank_goes_on_with_its_own_part_of_the_step_before(tmp_path: Path) -> None:
    async def story() -> None:
        async with an_hour(tmp_path, SCRIPT, policy("Allow")) as hour:
            begun = await lose_before_commit(hour)
            step = begun.order.step
            assert step is not None
            assert begun.reason == Reason.PRIVATE_STATE_BEHIND
            assert {each.member.replica: each.private_step for each in begun.members} == {
                0: None,
                LOST: step - 1,
                2: None,
            }
            heal = hour.job.heals[0].heal
            assert (heal.healed, heal.rung, heal.reason) == (True, Rung.PEER, Reason.PRIVATE_STATE_BEHIND)
            assert "PrivateStateBehind" in summary(hour.job.heals)
        last = int((hour.folder / "stop").read_text())
        fingerprints = ended(hour)
        assert len({each["model"] + each["optimizer"] for each in fingerprints}) == 1, "replicas are still replicas"
        assert [each["data"] for each in fingerprints] == [
            batches_after(rank, last - (rank == LOST)) for rank in range(hour.world)
        ]
        log = (hour.folder / "logs" / f"trainer-{LOST}.log").read_text()
        assert f"private part of step {step} is nowhere, and that of step {step - 1} stands in for it" in log

    asyncio.run(story())
