"""A rank stays away: the others train on without its replica, take it in at a commit, and nobody computes twice."""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from builders_level2 import with_fsdp2
from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.decisions import BeginEpoch, Decision
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.reasons import Cause, Reason
from checkpointheal_operator.local.job import Hooks, LocalJob
from checkpointheal_operator.local.screen import OperatorLog
from checkpointheal_operator.local.settings import LocalSettings
from level2.short_handed import loss_of, model, optimizer_of

pytestmark = [pytest.mark.kills, pytest.mark.timeout(600)]

SCRIPT = Path(__file__).with_name("short_handed.py")
SAFETY = 240.0
SHAPES = {"ddp": (3, 1), "hsdp": (2, 2)}


def lines(folder: Path, rank: int) -> list[dict[str, Any]]:
    """What the rank has told of each step that it committed."""
    file = folder / f"steps-{rank}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]


def reached(folder: Path, rank: int) -> int:
    file = folder / f"steps-{rank}.jsonl"
    return max((line["step"] for line in lines(folder, rank)), default=0) if file.exists() else 0


async def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SAFETY
    while not true():
        assert time.monotonic() < deadline, f"{what} never came"
        await asyncio.sleep(0.05)


def settings(folder: Path, wrap: str) -> LocalSettings:
    replicas, ranks = SHAPES[wrap]
    return LocalSettings(
        job=f"without-{os.getpid()}-{random.randrange(1 << 30):x}",
        command=(sys.executable, str(SCRIPT), str(folder)),
        policy=Policy(replicas=replicas, ranks=ranks, min_replicas=replicas - 1, go_on_without=3, epoch_end_deadline=3),
        logs=folder / "logs",
        trainer_restarts=100,
        environment={**os.environ, "WRAP": wrap, "TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"},
    )


async def a_rank_stays_away(folder: Path, wrap: str, rank: int) -> list[Decision]:
    """It is killed, and its next process comes only when the others have trained for a while."""
    replicas, ranks = SHAPES[wrap]
    world, gone = range(replicas * ranks), [each for each in range(replicas * ranks) if each // ranks == rank // ranks]
    others = [each for each in world if each not in gone]
    made: list[Decision] = []
    log = OperatorLog(folder / "logs")

    def told(decision: Decision, _: object) -> None:
        log.told(decision)
        made.append(decision)

    async with LocalJob(settings(folder, wrap), Hooks(told=told, noted=log.noted)) as job:
        await until(lambda: min(reached(folder, each) for each in world) >= 5, "the first steps")
        (folder / f"away-{rank}").touch()
        member = MemberId(replica=rank // ranks, rank=rank % ranks)
        os.kill(job.supervisor.pod(member).trainer_pid, signal.SIGKILL)
        await until(lambda: all(lines(folder, each)[-1]["left_out"] == gone for each in others), "going on without")
        goal = max(reached(folder, each) for each in others) + 5
        await until(lambda: min(reached(folder, each) for each in others) >= goal, "five steps without")
        (folder / f"away-{rank}").unlink()
        await until(lambda: reached(folder, rank) > goal, "its return")
        last = max(reached(folder, each) for each in world) + 10
        (folder / "stopping").write_text(str(last))
        (folder / "stopping").rename(folder / "stop")
        outcome = await asyncio.wait_for(job.wait(), SAFETY)
        assert outcome.status == 0, outcome.message
        assert {heal.heal.cause for heal in job.heals} == {Cause.RETURNED}
        assert len(job.heals) == len(gone)
    log.close()
    return made


def by_hand(there: dict[int, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The weights after the last of these steps, gradients averaged over the ranks that were there at each."""
    net = model()
    optimizer = optimizer_of(net)
    for step in sorted(there):
        optimizer.zero_grad()
        (sum(loss_of(net, rank, step - 1) for rank in there[step]) / len(there[step])).backward()
        optimizer.step()
    return net.state_dict()


@pytest.mark.parametrize(("wrap", "rank"), [("ddp", 0), ("ddp", 1), pytest.param("hsdp", 3, marks=with_fsdp2)], ids=str)
def test_the_others_go_on_without_a_replica_that_stays_away_and_average_over_those_present(
    tmp_path: Path, wrap: str, rank: int
) -> None:
    made = asyncio.run(a_rank_stays_away(tmp_path, wrap, rank))
    began = [each.reason for each in made if isinstance(each, BeginEpoch)]
    assert began == [Reason.FIRST_START, Reason.GOES_ON_WITHOUT, Reason.EVERYONE_WAITS]
    replicas, ranks = SHAPES[wrap]
    told = {each: lines(tmp_path, each) for each in range(replicas * ranks)}
    others = [each for each in told if each // ranks != rank // ranks]
    for each in others:
        steps = [line["step"] for line in told[each]]
        again = [at for at in range(1, len(steps)) if steps[at] == steps[at - 1]]
        not_new = [at for at, line in enumerate(told[each]) if not line["new"]]  # a line may be lost behind its commit
        assert len(not_new) <= 1, "who is killed in a collective costs those who were through with it this one step"
        assert {*again} <= {*not_new}
        assert [step for at, step in enumerate(steps) if at not in again] == [*range(1, steps[-1] + 1)]
        assert len({line["pid"] for line in told[each]}) == 1
    there = {line["step"]: tuple({*told} - {*line["left_out"]}) for line in told[others[0]]}
    assert {len(each) for each in there.values()} == {(replicas - 1) * ranks, replicas * ranks}
    assert all(line["members"] == len(there[line["step"]]) for line in told[others[0]])
    weights: dict[tuple[int, int], set[str]] = {}
    for number, said in told.items():
        for line in said:
            weights.setdefault((line["step"], number % ranks), set()).add(line["weights"])
    assert all(len(each) == 1 for each in weights.values()), "all who train hold the same bits at each step"
    wanted = by_hand(there)
    for replica in range(replicas):
        parts = [torch.load(tmp_path / f"end-{replica * ranks + each}.pt") for each in range(ranks)]
        held = {name: torch.cat([part[name] for part in parts]) for name in wanted}
        assert all(torch.allclose(held[name], wanted[name], rtol=0, atol=1e-12) for name in wanted)
