"""`make examples` fails where an example falls short by anything: what it compares is compared here on made-up jobs."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from checkpointheal_operator.demo.progress import Progress
from harmed import __main__ as command
from harmed.blows import Blow, blows
from harmed.ordeal import Harm, Ordeal
from harmed.stacks import STACKS, Stack
from harmed.table import Row
from harmed.verdict import Ended, Suffered, Told, shortfalls

PEACE = Ended(
    parts=[{"model": "a", "optimizer": "b", "torch": f"c{rank}"} for rank in range(3)],
    batches=[{0: ["x", "y"], 1: ["z", "w"]} for _ in range(3)],
)
ONCE = Suffered(
    planned=1,
    hits=[0, 1, 0],
    message="",
    wrong_fallbacks=(),
    told=[
        [Told("1", None), Told("1", 1), Told("1", 2)],
        [Told("2", None), Told("2", 1), Told("4", None), Told("4", 2)],
        [Told("3", None), Told("3", 1), Told("3", 2), Told("3", 2)],
    ],
)


def found(ended: Ended | None = PEACE, suffered: Suffered = ONCE, back: int | None = 1) -> list[str]:
    return shortfalls(PEACE, ended, suffered, back)


def with_part(rank: int, **changed: str) -> Ended:
    return replace(PEACE, parts=[{**parts, **(changed if rank == at else {})} for at, parts in enumerate(PEACE.parts)])


def told(*lives: str) -> list[list[Told]]:
    """Rank 0 was these processes."""
    return [[Told(life, step) for step, life in enumerate(lives, 1)], *ONCE.told[1:]]


def test_a_job_that_ended_as_if_nothing_had_been_falls_short_of_nothing() -> None:
    assert found() == []


@pytest.mark.parametrize("part", ["model", "optimizer", "torch"])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_bit_of_any_part_of_any_rank_is_noticed(rank: int, part: str) -> None:
    assert found(with_part(rank, **{part: "another"})) == [f"rank {rank}: {part} differs"]


def test_a_part_that_only_one_of_them_has_is_noticed() -> None:
    assert found(with_part(1, scaler="s")) == ["rank 1: scaler differs"]


def test_a_sample_that_was_another_or_came_twice_is_noticed() -> None:
    for batches in (["z", "v"], ["z", "w", "w"], ["z"]):
        other = replace(PEACE, batches=[{0: ["x", "y"], 1: batches}, *PEACE.batches[1:]])
        assert found(other) == ["rank 0: update 2 was made of other samples"]


def test_where_nothing_was_compared_that_is_said() -> None:
    assert found(Ended([], [])) == ["there is nothing to compare"]


def test_many_differences_are_not_all_told() -> None:
    other = Ended([dict.fromkeys(parts, "?") for parts in PEACE.parts], PEACE.batches)
    assert found(other)[-1] == "and 6 more"


def test_a_kill_that_never_came_is_noticed() -> None:
    assert found(suffered=replace(ONCE, planned=2)) == ["1 of 2 kills came to pass"]


def test_a_job_that_failed_says_why() -> None:
    assert found(None, replace(ONCE, message="trainer-1 failed 9 times")) == ["trainer-1 failed 9 times"]


def test_a_fallback_from_a_step_that_memory_had_is_noticed() -> None:
    assert len(found(suffered=replace(ONCE, wrong_fallbacks=["epoch 3: afresh"]))) == 1


def test_a_survivor_that_lost_its_process_is_noticed_on_level_2_alone() -> None:
    restarted = replace(ONCE, told=told("1", "9"))
    assert found(suffered=restarted) == ["rank 0 was 2 processes and was killed 0 times"]
    assert found(suffered=restarted, back=None) == []


def test_a_survivor_may_go_back_by_as_much_as_its_stack_allows() -> None:
    assert ONCE.back == 1
    assert found(suffered=ONCE, back=1) == []
    assert found(suffered=ONCE, back=0) == ["a survivor went back by 1 updates, at most 0 may be"]


def test_more_updates_computed_again_than_one_a_kill_and_rank_are_noticed() -> None:
    again = [Told("1", step) for step in (1, 2, 3, 4, 1, 2, 3, 4)]
    (said,) = found(suffered=replace(ONCE, told=[again, *ONCE.told[1:]]), back=None)
    assert said == "5 updates computed again, more than one a kill and rank"


def a_row(stack: Stack, *short: str) -> Row:
    harms = [Harm(Blow(1), 10.0, 3, 1.5, "OwnMemory", {"detect": 0.1, "rejoin": 0.2})]
    return Row(stack.name, 2, 3, ONCE, 9, harms, 5.0, short)


def test_one_example_that_falls_short_fails_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "seen.json"
    told = ["--dir", str(tmp_path), "--out", str(out)]
    assert command.main(told, lambda stack, *_: a_row(stack)) == 0
    differs = {"parts": ["rank 1: model differs"]}
    assert command.main(told, lambda stack, *_: a_row(stack, *differs.get(stack.name, ()))) == 1
    assert "parts: rank 1: model differs" in capsys.readouterr().out
    seen = json.loads(out.read_text())
    assert [row["name"] for row in seen["rows"]] == [stack.name for stack in STACKS]
    assert seen["rows"][0]["suffered"]["lives"] == [1, 2, 1]


def test_a_job_that_never_trained_is_told_of_and_no_trouble(tmp_path: Path) -> None:
    job = Ordeal(STACKS[0], tmp_path)
    job.account(Progress(tmp_path, 3), [])
    assert found(None, replace(job.suffered(2), message="it hangs")) == ["it hangs", "0 of 2 kills came to pass"]


def test_an_example_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["level3"])
    assert "there is no example 'level3'" in capsys.readouterr().err


def test_a_seed_gives_the_same_kills_and_every_point_its_turn() -> None:
    stack = STACKS[0]
    first, second = (blows(20, stack.points, 3, random.Random("7")) for _ in range(2))
    assert first == second
    assert {blow.point for blow in first if blow.point} == set(stack.points)
    assert sum(not blow.point for blow in first) == sum(bool(blow.point) for blow in first) == 20
    assert {blow.rank for blow in first} == {0, 1, 2}
    assert any(blow.pod for blow in first)
    assert not any(blow.pod and blow.amid for blow in first)


def test_every_example_in_the_folder_is_harmed() -> None:
    folder = Path(__file__).parents[2] / "examples"
    assert {stack.name for stack in STACKS} == {path.stem for path in folder.glob("*.py")}
