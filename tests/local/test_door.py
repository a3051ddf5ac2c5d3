"""A job of this machine is asked for a drill from another terminal, by its socket and by nothing else."""

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders_core import NOW, a_generation, m
from builders_local import running
from checkpointheal.contract.report import DrillFacts
from checkpointheal_operator.core.drill_record import DrillPlan, DrillRecord, DrillSide
from checkpointheal_operator.local import door, drill_command

PASSED = DrillRecord(
    name="drill-1",
    request="one",
    plan=DrillPlan(
        recipient=DrillSide(member=m("0/0"), pod="trainer-0", pod_uid="u"),
        donor=DrillSide(member=m("1/0"), pod="trainer-1", pod_uid="v"),
        identity=a_generation(m("0/0"), 5).identity,
        channel="gloo",
        deadline=30,
    ),
    began_at=NOW,
    ended_at=NOW + 1,
    passed=True,
    reason="DrillPassed",
    message="0/0 was given step 5 by 1/0 and verified it: a heal would work",
    transfer=DrillFacts(
        heal="drill-1", attempt=1, state="verified", bytes=1 << 20, total=1 << 20, hold_seconds=0.5, transfer_seconds=1
    ),
)
REFUSED = DrillRecord(
    name="drill-2", request="two", began_at=NOW, ended_at=NOW, reason="NoPair", message="nobody holds anything"
)


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where jobs have their memory."""
    directory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    monkeypatch.setattr(door, "memory_root", lambda: directory)
    yield directory
    shutil.rmtree(directory)


def asked(root: Path, answer: DrillRecord, *argv: str, jobs: tuple[str, ...] = ("local-1",)) -> int:
    """The exit status, while these jobs run."""

    async def drill() -> DrillRecord:
        return answer

    async def story() -> int:
        async with asyncio.TaskGroup() as tasks:
            ends = asyncio.Event()
            opened = [asyncio.Event() for _ in jobs]

            async def runs(job: str, is_open: asyncio.Event) -> None:
                folder = root / f"checkpointheal-{job}"
                folder.mkdir()
                async with door.door(folder, drill):
                    is_open.set()
                    await ends.wait()

            for job, is_open in zip(jobs, opened, strict=True):
                tasks.create_task(runs(job, is_open))
            for is_open in opened:
                await is_open.wait()
            status = await asyncio.to_thread(drill_command.main, argv)
            ends.set()
        return status

    statuses: list[int] = []

    async def work() -> None:
        statuses.append(await story())

    running(work())
    return statuses[0]


def test_the_only_job_is_asked_and_its_drill_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(root, PASSED) == 0
    assert capsys.readouterr().out == (
        "0/0 was given step 5 by 1/0 and verified it: a heal would work\n"
        "  from trainer-1 to trainer-0, over Gloo\n"
        "  1.0 MiB in 1.5 s: hold 0.5 s, transfer 1.0 s, verify 0.0 s (1.0 MiB/s)\n"
    )


def test_a_drill_that_was_refused_ends_with_1(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(root, REFUSED) == 1
    assert capsys.readouterr().out == "! NoPair: nobody holds anything\n"


def test_of_several_jobs_one_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(root, PASSED, jobs=("local-1", "local-2")) == 2
    assert "there are several jobs: one of local-1, local-2" in capsys.readouterr().err
    shutil.rmtree(root)
    root.mkdir()
    assert asked(root, PASSED, "local-2", jobs=("local-1", "local-2")) == 0


def test_a_job_that_is_not_there_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(root, PASSED, "nothing") == 2
    assert "there is no job 'nothing': one of local-1" in capsys.readouterr().err


def test_where_no_job_runs_it_says_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drill_command.main([]) == 2
    assert "no job of `checkpointheal local` runs here" in capsys.readouterr().err


def test_a_job_that_was_killed_is_not_one_of_those_that_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = root / "checkpointheal-local-0" / door.SOCKET
    left.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    assert drill_command.main([]) == 2
    assert "no job of `checkpointheal local` runs here" in capsys.readouterr().err
    assert asked(root, PASSED) == 0


def test_whoever_only_looks_whether_a_job_is_there_asks_for_nothing(root: Path) -> None:
    async def story() -> None:
        folder, asked_for = root / "checkpointheal-local-1", list[int]()
        folder.mkdir()

        async def drill() -> DrillRecord:
            asked_for.append(1)
            return PASSED

        async with door.door(folder, drill):
            for _ in range(3):
                assert list(await asyncio.to_thread(door.jobs)) == ["local-1"]
            assert await door.ask(folder) == PASSED
        assert asked_for == [1]

    running(story())


def test_a_job_that_ends_meanwhile_is_no_drill_that_passed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        folder = root / "checkpointheal-local-1"
        folder.mkdir()
        server = await asyncio.start_unix_server(lambda _reader, writer: writer.close(), folder / door.SOCKET)
        assert await asyncio.to_thread(drill_command.main, []) == 2
        server.close()

    running(story())
    assert "local-1 does not answer" in capsys.readouterr().err


def test_a_drill_that_takes_too_long_is_not_waited_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        folder = root / "checkpointheal-local-1"
        folder.mkdir()
        guests: list[asyncio.StreamWriter] = []
        server = await asyncio.start_unix_server(lambda _reader, writer: guests.append(writer), folder / door.SOCKET)
        assert await asyncio.to_thread(drill_command.main, ["--timeout", "0.1"]) == 2
        for guest in guests:
            guest.close()
        server.close()

    running(story())
    assert "the drill of local-1 did not end within 0.1 s" in capsys.readouterr().err


def test_a_drill_that_passed_says_so_by_its_status_though_nobody_reads_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", buffering=1) as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert asked(root, PASSED) == 0
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)


def test_a_drill_without_any_standard_output_has_a_status_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert asked(root, REFUSED) == 1


@pytest.mark.parametrize("seconds", ["nan", "-1", "0", "inf", "soon"])
def test_a_wait_for_no_time_or_for_ever_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        drill_command.main(["--timeout", seconds])
    assert refused.value.code == 2
    assert f"more than 0 seconds, not '{seconds}'" in capsys.readouterr().err
