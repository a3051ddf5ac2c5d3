"""A job of this machine, with real pods: what ends starts again, what is deleted comes back empty, nothing is left."""

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from builders_local import a_job, a_trainer, alive, processes_of, running, until
from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.phases import phases
from checkpointheal_operator.core.reasons import Cause, Rung
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.local import keeper
from checkpointheal_operator.local.job import Hooks, LocalJob
from checkpointheal_operator.local.pods import Pod
from checkpointheal_operator.local.restarts import Limits
from checkpointheal_operator.local.settings import LocalSettings

FIRST = MemberId(replica=0)
PATIENT = Limits(restarts=20, backoff=0.01)
READY = 'leave("ready", str(os.getpid())); wait_for("go")'


def during(settings: LocalSettings, act: Callable[[LocalJob], Awaitable[None]], hooks: Hooks | None = None) -> None:
    """Run `act` while the job runs; afterwards nothing of it may be left."""
    seen: set[int] = set()
    uids: set[str] = set()

    async def work() -> None:
        async with LocalJob(settings, hooks) as job:
            await act(job)
            for pod in job.supervisor.pods():
                seen.update(processes_of(pod))
                uids.add(pod.claim.uid)
                folder = pod.arena.parent
        assert alive(list(seen)) == []
        assert [pid for uid in uids for pid in keeper.marked(uid)] == []
        assert not folder.exists()

    running(work())


def the_pod(job: LocalJob, member: MemberId = FIRST) -> Pod:
    pod = job.supervisor.pod(member)
    assert pod is not None
    return pod


async def ready(folder: Path, members: int = 1) -> None:
    """Every trainer has come as far as READY; they stay there."""
    await until(lambda: all((folder / f"ready-{rank}").exists() for rank in range(members)))


def test_a_job_whose_trainers_end_well_ends_well(tmp_path: Path) -> None:
    async def act(job: LocalJob) -> None:
        outcome = await job.wait()
        assert (outcome.status, [pod.finished for pod in job.supervisor.pods()]) == (0, [True] * 4)

    during(a_job(tmp_path, a_trainer('leave("ran")'), replicas=2, ranks=2), act)
    assert {each.name for each in tmp_path.glob("ran-*")} == {f"ran-{rank}" for rank in range(4)}


@pytest.mark.parametrize(("restarts", "lives"), [(0, 1), (2, 3)])
def test_a_trainer_that_always_fails_ends_the_job_with_its_status(tmp_path: Path, restarts: int, lives: int) -> None:
    async def act(job: LocalJob) -> None:
        outcome = await job.wait()
        assert outcome.status == 3
        assert "trainer-0" in outcome.message
        assert "for good" in outcome.message

    trainer = a_trainer('open(out / "lives", "a").write("x"); raise SystemExit(3)')
    during(a_job(tmp_path, trainer, trainer_restarts=restarts, pod_restarts=PATIENT), act)
    assert (tmp_path / "lives").read_text() == "x" * lives


def test_one_member_that_fails_for_good_takes_the_others_along(tmp_path: Path) -> None:
    async def act(job: LocalJob) -> None:
        await ready(tmp_path, members=2)
        (tmp_path / "fail").touch()
        assert (await job.wait()).status == 4

    trainer = a_trainer('leave("ready"); wait_for("fail" if rank == "1" else "never"); raise SystemExit(4)')
    during(a_job(tmp_path, trainer, replicas=2), act)


def test_a_restarted_trainer_finds_its_pod_and_its_arena_as_they_were(tmp_path: Path) -> None:
    async def act(job: LocalJob) -> None:
        uid = the_pod(job).claim.uid
        assert (await job.wait()).status == 0
        assert the_pod(job).claim.uid == uid

    trainer = a_trainer("""
kept = pathlib.Path(os.environ["CHECKPOINTHEAL_ARENA"]) / "kept"
if not kept.exists():
    kept.touch()
    raise SystemExit(1)
""")
    during(a_job(tmp_path, trainer, trainer_restarts=1), act)


def test_an_agent_that_dies_is_started_again_beside_the_same_trainer(tmp_path: Path) -> None:
    async def act(job: LocalJob) -> None:
        await ready(tmp_path)
        pod = the_pod(job)
        agent, trainer = pod.agent_pid, pod.trainer_pid
        assert agent is not None
        os.kill(agent, signal.SIGKILL)
        await until(lambda: pod.agent_pid not in (None, agent))
        assert pod.trainer_pid == trainer == int((tmp_path / "ready-0").read_text())
        (tmp_path / "go").touch()
        assert (await job.wait()).status == 0

    during(a_job(tmp_path, a_trainer(READY)), act)


def test_a_deleted_pod_is_gone_as_a_whole_and_another_comes_empty(tmp_path: Path) -> None:
    async def act(job: LocalJob) -> None:
        await ready(tmp_path)
        old = the_pod(job)
        before, agent = processes_of(old), old.agent_pid
        (old.arena / "slot").write_bytes(b"weights")
        assert agent in before
        assert await job.supervisor.delete(FIRST) == old.claim.uid
        assert alive(before) == []
        assert not old.arena.exists()
        await until(lambda: the_pod(job) is not old and the_pod(job).agent_pid)
        new = the_pod(job)
        assert new.claim.uid != old.claim.uid
        assert new.claim.name == old.claim.name
        assert list(new.arena.iterdir()) == []
        assert await job.supervisor.caller(old.claim.token) is None
        caller = await job.supervisor.caller(new.claim.token)
        assert caller is not None
        assert caller.pod_uid == new.claim.uid

    during(a_job(tmp_path, a_trainer(READY)), act)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_ends_a_keeper_deletes_its_pod(tmp_path: Path, number: signal.Signals) -> None:
    async def act(job: LocalJob) -> None:
        await ready(tmp_path)
        old = the_pod(job)
        before = processes_of(old)
        assert old.keeper_pid is not None
        os.kill(old.keeper_pid, number)
        await until(lambda: the_pod(job) is not old)
        assert alive(before) == []
        assert not old.arena.exists()

    during(a_job(tmp_path, a_trainer(READY)), act)


def test_a_pod_may_be_deleted_before_it_has_begun_and_twice(tmp_path: Path) -> None:
    async def act(job: LocalJob) -> None:
        await until(lambda: job.supervisor.pod(FIRST))
        old = the_pod(job)
        await asyncio.gather(*(job.supervisor.delete(FIRST) for _ in range(3)))
        await until(lambda: the_pod(job) is not old)
        assert keeper.marked(old.claim.uid) == []
        assert await job.supervisor.delete(MemberId(replica=7)) is None

    during(a_job(tmp_path, a_trainer(READY)), act)


def test_trainers_that_are_asked_to_leave_may_say_goodbye(tmp_path: Path) -> None:
    async def act(job: LocalJob) -> None:
        await ready(tmp_path, members=2)
        await job.leave()
        await job.wait()

    trainer = a_trainer("""
def goodbye(*_):
    leave("goodbye")
    raise SystemExit(0)
signal.signal(signal.SIGTERM, goodbye)
leave("ready")
wait_for("never")
""")
    during(a_job(tmp_path, trainer, replicas=2), act)
    assert len(list(tmp_path.glob("goodbye-*"))) == 2


def test_a_pod_that_pauses_between_two_starts_leaves_at_once(tmp_path: Path) -> None:
    paused: list[str] = []

    async def act(job: LocalJob) -> None:
        await ready(tmp_path)
        os.kill(the_pod(job)._pids["run"], signal.SIGKILL)
        await until(lambda: any("starts again" in sentence for sentence in paused))
        await job.leave()
        assert job.supervisor.pods()[0].trainer_pid is None

    settings = a_job(tmp_path, a_trainer(READY), pod_restarts=Limits(restarts=9, backoff=60), grace=600)
    during(settings, act, Hooks(noted=paused.append))


def test_a_trainer_that_will_not_leave_is_killed_once_the_grace_is_over(tmp_path: Path) -> None:
    async def act(job: LocalJob) -> None:
        await ready(tmp_path)
        trainer = the_pod(job).trainer_pid
        await job.leave()
        assert alive([trainer or 0]) == [trainer]

    trainer = a_trainer("signal.signal(signal.SIGTERM, signal.SIG_IGN);" + READY)
    during(a_job(tmp_path, trainer, grace=0.2), act)


def test_trainers_that_speak_begin_together_and_a_killed_one_is_a_crash_that_is_healed(tmp_path: Path) -> None:
    """The real agents, the real core, over the real gateway; only the training is missing."""
    decisions: list[str] = []

    async def act(job: LocalJob) -> None:
        await until(lambda: len(list(tmp_path.glob("epoch-1-*"))) == 2)
        await until(lambda: job.loop.view.epoch.open)
        trainer = the_pod(job).trainer_pid
        assert trainer == int((tmp_path / "epoch-1-0").read_text())
        os.kill(trainer, signal.SIGKILL)
        await until(lambda: not job.loop.view.epoch.open)
        os.kill(the_pod(job, MemberId(replica=1)).trainer_pid or 0, signal.SIGKILL)
        await until(lambda: len(list(tmp_path.glob("epoch-*"))) == 4)
        (tmp_path / "go").touch()
        assert (await job.wait()).status == 0
        await until(lambda: all(pod.finished for pod in job.loop.view.pods))
        (first, *_) = (seen for seen in job.heals if seen.heal.recipient == FIRST)
        assert (first.heal.cause, first.heal.reason, first.heal.rung) == (Cause.CRASHED, "FellBack", Rung.CHECKPOINT)
        assert first.rejoined_seconds == 0.5
        assert phases(first)["apply"] == 0.25

    def told(decision: object, view: JobView) -> None:
        decisions.append(type(decision).__name__)

    agent = LocalSettings.model_fields["agent"].default
    trainer = a_trainer('wait_for("go"); say(say="done")', speaks=True)
    settings = a_job(
        tmp_path,
        trainer,
        replicas=2,
        agent=agent,
        trainer_restarts=9,
        environment=dict(os.environ) | {"OUT": str(tmp_path)},
    )
    during(settings, act, Hooks(told=told))
    assert decisions.count("BeginEpoch") >= 2
    assert "OpenHeal" in decisions


def test_a_folder_of_logs_that_somebody_removed_is_made_anew(tmp_path: Path) -> None:
    settings = a_job(tmp_path, a_trainer('print("hello", flush=True); ' + READY))

    async def act(job: LocalJob) -> None:
        await ready(tmp_path)
        shutil.rmtree(settings.logs)
        (tmp_path / "ready-0").unlink()
        await job.supervisor.delete(FIRST)
        await ready(tmp_path)
        (tmp_path / "go").touch()
        assert (await job.wait()).status == 0

    during(settings, act)
    assert (settings.logs / "trainer-0.log").read_text() == "hello\n"


def test_a_pod_whose_logs_cannot_be_written_trains_without_and_says_so(tmp_path: Path) -> None:
    settings = a_job(tmp_path, a_trainer(READY))
    said: list[str] = []

    async def act(job: LocalJob) -> None:
        await ready(tmp_path)
        shutil.rmtree(settings.logs)
        settings.logs.touch()
        (tmp_path / "ready-0").unlink()
        await job.supervisor.delete(FIRST)
        await ready(tmp_path)
        (tmp_path / "go").touch()
        assert (await job.wait()).status == 0

    during(settings, act, Hooks(noted=said.append))
    log = settings.logs / "trainer-0.log"
    assert f"{log} cannot be written (File exists): what its run says is lost" in said
