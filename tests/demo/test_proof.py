"""Identical means: every part of every rank was there, and none differs."""

import json
from pathlib import Path

import pytest

from checkpointheal_operator.demo.proof import compare

PARTS = {"model": "a", "optimizer": "b", "random": "c", "data": "d"}


def fingerprints(folder: Path, *ranks: dict[str, str] | None) -> Path:
    folder.mkdir()
    for rank, parts in enumerate(ranks):
        if parts is not None:
            (folder / f"fingerprint-{rank}.json").write_text(json.dumps(parts))
    return folder


def test_equal_fingerprints_on_every_rank_are_identical(tmp_path: Path) -> None:
    reference, healed = fingerprints(tmp_path / "r", PARTS, PARTS), fingerprints(tmp_path / "h", PARTS, PARTS)
    verdict = compare(reference, healed, 2)
    assert verdict.identical
    assert len(verdict.same) == 8


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_differs_is_named_with_its_rank(tmp_path: Path, part: str) -> None:
    reference = fingerprints(tmp_path / "r", PARTS, PARTS)
    healed = fingerprints(tmp_path / "h", PARTS, PARTS | {part: "x"})
    verdict = compare(reference, healed, 2)
    assert not verdict.identical
    assert verdict.different == (f"rank 1: {part}",)


@pytest.mark.parametrize("missing", ["r", "h", "both"])
def test_a_rank_that_left_no_fingerprint_is_not_identical(tmp_path: Path, missing: str) -> None:
    last = {name: None if missing in (name, "both") else PARTS for name in ("r", "h")}
    reference, healed = (fingerprints(tmp_path / name, PARTS, last[name]) for name in ("r", "h"))
    assert not compare(reference, healed, 2).identical


def test_nothing_compared_is_not_identical(tmp_path: Path) -> None:
    assert not compare(fingerprints(tmp_path / "r"), fingerprints(tmp_path / "h"), 0).identical
