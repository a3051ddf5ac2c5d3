"""The bench of what a loss costs reads the ranks' own words, and says where a promise is broken."""

import json
from pathlib import Path
from typing import Any

import pytest
from bench.rejoin import figures, lost
from bench.rejoin.lost import Lost


def tell(folder: Path, rank: int, *lines: dict[str, Any]) -> None:
    (folder / f"progress-{rank}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def at(moment: float, event: str, step: int | None = None) -> dict[str, Any]:
    return {"at": moment, "event": event, "step": step, "pid": 1}


def test_a_loss_is_cut_where_the_ranks_said_something(tmp_path: Path) -> None:
    survivor = [at(1, "step", 9), at(2, "step", 10), at(3.5, "noticed"), at(8, "step", 10), at(9, "step", 11)]
    tell(tmp_path, 0, *survivor)
    tell(tmp_path, 1, at(1, "step", 9), at(5, "ready"), at(8, "step", 10), at(9.5, "step", 11))
    tell(tmp_path, 2, *survivor)
    assert (lost.highest(tmp_path), lost.noticed(tmp_path, 3)) == (11, 3.5)
    loss = lost.lost(tmp_path, 1, killed=3, before=10, noticed=3.5)
    assert loss == Lost(detect=0.5, restart=1.5, rejoin=3, again=1.5)
    assert loss.behind == 6


def test_a_job_is_past_a_loss_when_its_last_rank_is(tmp_path: Path) -> None:
    for rank, last in enumerate((11, 10, 12)):
        tell(tmp_path, rank, *(at(step, "step", step) for step in range(8, last + 1)))
    assert lost.past(tmp_path, 9, 0) == 10
    assert lost.past(tmp_path, 10, 0) is None
    assert lost.updates(tmp_path, 9) == 1


@pytest.mark.parametrize(("torchrun", "torchft", "kept"), [(10, 2, [True, True, True]), (4, 1, [False, False, False])])
def test_a_promise_that_is_broken_is_seen(torchrun: float, torchft: float, kept: list[bool]) -> None:
    ours = Lost(0, 0, 1, 0)
    others = {"torchft": [Lost(0, 0, torchft, 0)], "torchrun": [Lost(0, torchrun, 0, 0)]}
    rows = figures.rows({"level 2": [ours], "level 1": [ours], **others}, {})
    assert [row.is_kept for row in rows if row.target is not None] == kept
