"""Pods of two seats on this machine: a trainer ends alone, a pod with both of its."""

import os
import signal
from pathlib import Path

import pytest

from builders_local import a_job, a_trainer, alive, running, until
from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.local.command import main
from checkpointheal_operator.local.job import LocalJob

READY = 'leave("ready", str(os.getpid())); wait_for("go")'
LAST = MemberId(replica=3)


async def pids(folder: Path) -> list[int]:
    """Of all four trainers, once they have said so."""
    files = [folder / f"ready-{rank}" for rank in range(4)]
    await until(lambda: all(each.exists() for each in files))
    return [int(each.read_text()) for each in files]


def test_every_seat_has_a_trainer_of_its_own_rank_and_the_job_ends_when_all_have(tmp_path: Path) -> None:
    async def story() -> None:
        async with LocalJob(a_job(tmp_path, a_trainer(READY), replicas=4, local_ranks=2)) as job:
            found = await pids(tmp_path)
            pods = job.supervisor.pods()
            assert [pod.trainer(seat) for pod in pods for seat in range(2)] == found
            assert [each.name for each in job.supervisor.facts()] == [
                *("trainer-0/0", "trainer-0/1", "trainer-1/0", "trainer-1/1")
            ]
            assert job.supervisor.pod(LAST) is pods[1]
            (tmp_path / "go").touch()
            assert (await job.wait()).status == 0

    running(story())


def test_a_trainer_that_is_killed_comes_back_alone(tmp_path: Path) -> None:
    async def story() -> None:
        settings = a_job(tmp_path, a_trainer(READY), replicas=4, local_ranks=2, trainer_restarts=3)
        async with LocalJob(settings) as job:
            found = await pids(tmp_path)
            (tmp_path / "ready-3").unlink()
            os.kill(found[3], signal.SIGKILL)
            again = await pids(tmp_path)
            assert again[:3] == found[:3]
            assert job.supervisor.pods()[1].trainer(1) == again[3] != found[3]

    running(story())


def test_a_pod_that_is_deleted_takes_both_its_seats_and_another_comes_with_both(tmp_path: Path) -> None:
    async def story() -> None:
        async with LocalJob(a_job(tmp_path, a_trainer(READY), replicas=4, local_ranks=2)) as job:
            found, old = await pids(tmp_path), job.supervisor.pods()[1]
            assert await job.supervisor.delete(LAST) == old.claim.uid
            assert alive(found) == found[:2]
            assert not old.arena.exists()
            await until(lambda: job.supervisor.pods()[1] is not old)
            new = job.supervisor.pods()[1].claim
            assert await job.supervisor.caller(old.claim.token) is None
            caller = await job.supervisor.caller(new.token)
            assert caller is not None
            seats = [caller.at(each) for each in range(3)]
            assert [each and each.pod_uid for each in seats] == [new.uid, f"{new.uid}.1", None]

    running(story())


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (["--replicas", "3", "--local-ranks", "2"], "3 replicas of 1 ranks do not fill pods of 2"),
        (["--replicas", "2", "--ranks", "3", "--local-ranks", "2"], "do not divide each other"),
        (["--local-ranks", "65"], "less than or equal to 64"),
    ],
)
def test_pods_that_cannot_be_are_refused_at_the_terminal(
    asked: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--", "true"])
    assert ended.value.code == 2
    assert why in capsys.readouterr().err
