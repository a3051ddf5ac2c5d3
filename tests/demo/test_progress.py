"""What the ranks say is read as it grows, and counted."""

import json
from pathlib import Path

from builders_bad_hour import updates_since
from checkpointheal_operator.demo.progress import Progress


def tell(folder: Path, rank: int, *lines: tuple[float, str, int | None]) -> None:
    with (folder / f"progress-{rank}.jsonl").open("a") as file:
        for at, event, step in lines:
            file.write(json.dumps({"at": at, "event": event} | ({} if step is None else {"step": step})) + "\n")


def steps(*numbers: int, at: float = 0.0) -> tuple[tuple[float, str, int | None], ...]:
    return tuple((at + number, "step", number) for number in numbers)


def watched(folder: Path, ranks: int = 2) -> Progress:
    progress = Progress(folder, ranks)
    progress.look()
    return progress


def test_before_the_first_word_everybody_is_at_step_0(tmp_path: Path) -> None:
    progress = Progress(tmp_path, 2)
    assert progress.look() is False
    assert progress.behind == 0
    assert progress.reached(1, 0.0) is None


def test_the_slowest_rank_decides_how_far_the_job_is(tmp_path: Path) -> None:
    tell(tmp_path, 0, *steps(1, 2, 3))
    tell(tmp_path, 1, *steps(1, 2))
    progress = watched(tmp_path)
    assert [progress.step(rank) for rank in (0, 1)] == [3, 2]
    assert progress.behind == 2


def test_a_word_without_a_step_does_not_move_a_rank(tmp_path: Path) -> None:
    tell(tmp_path, 0, *steps(1, 2), (9.0, "waits", None))
    assert watched(tmp_path, 1).step(0) == 2


def test_half_a_line_is_left_for_the_next_look(tmp_path: Path) -> None:
    tell(tmp_path, 0, *steps(1))
    with (tmp_path / "progress-0.jsonl").open("a") as file:
        file.write('{"at": 2, "event": "st')
    progress = watched(tmp_path, 1)
    assert progress.step(0) == 1
    with (tmp_path / "progress-0.jsonl").open("a") as file:
        file.write('ep", "step": 2}\n')
    assert progress.look() is True
    assert progress.step(0) == 2


def test_a_step_is_reached_when_the_last_rank_is_there_after_the_moment(tmp_path: Path) -> None:
    tell(tmp_path, 0, *steps(1, 2, 3, at=10))
    tell(tmp_path, 1, *steps(1, 2, 3, at=20))
    progress = watched(tmp_path)
    assert progress.reached(2, since=0) == 22
    assert progress.reached(2, since=13.5) is None, "rank 0 was there before, and has not been since"
    assert progress.reached(3, since=13) == 23
    assert progress.reached(4, since=0) is None


def test_a_step_that_was_jumped_over_is_reached(tmp_path: Path) -> None:
    tell(tmp_path, 0, *steps(1, 5))
    assert watched(tmp_path, 1).reached(3, since=0) == 5


def test_steps_computed_twice_are_lost_over_all_ranks(tmp_path: Path) -> None:
    tell(tmp_path, 0, *steps(1, 2, 3), (9, "start", 2), *steps(3, 4))
    tell(tmp_path, 1, *steps(1, 2), (9, "start", 2), *steps(3, 4))
    assert watched(tmp_path).computed_again() == 1


def test_updates_are_counted_from_a_moment_on(tmp_path: Path) -> None:
    tell(tmp_path, 0, (1, "start", 0), *steps(1, 2, 3, at=10))
    progress = watched(tmp_path, 1)
    assert [updates_since(progress, 0, at) for at in (0, 12, 13.5)] == [3, 2, 0]
