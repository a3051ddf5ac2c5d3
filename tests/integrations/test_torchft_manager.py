"""A torchft job loses a replica and gets it back: the survivor goes on, and both end with the same bits."""

from pathlib import Path

import pytest

pytest.importorskip("torchft", reason="torchft is not installed here: make integrations")

import builders_torchft as build

pytestmark = pytest.mark.timeout(300)  # two interpreters at a time import torch
ENDLESS = ("--steps", "1000000", "--pause", "0.05")


def test_the_survivor_trains_on_and_the_replica_that_comes_back_holds_its_bits(tmp_path: Path) -> None:
    with build.a_job(tmp_path, fewest=1) as start:
        survivor, first = start(0, *ENDLESS), start(1, *ENDLESS)
        first.until(5)
        survivor.until(5)
        first.end()
        killed_at = first.steps[-1][0]
        survivor.until(killed_at + 5)  # alone
        second = start(1, *ENDLESS)
        second.until(killed_at + 10)
        joined_at = second.steps[0][0]
        second.until(joined_at + 5)
        survivor.until(second.steps[-1][0])
        assert survivor.process.poll() is None
        seen = survivor.steps
    assert [step for step, _ in seen] == sorted(step for step, _ in seen)
    assert joined_at > killed_at
    assert {step: digest for step, digest in second.steps if step in dict(seen)}.items() <= dict(seen).items()


def test_where_an_update_needs_both_nothing_is_lost_by_a_kill(tmp_path: Path) -> None:
    (tmp_path / "undisturbed").mkdir()
    (tmp_path / "killed").mkdir()
    with build.a_job(tmp_path / "undisturbed", fewest=2) as start:
        replicas = [start(number, "--steps", "12", "--pause", "0") for number in (0, 1)]
        for replica in replicas:
            replica.until(12)
        expected = dict(replicas[0].steps)
    with build.a_job(tmp_path / "killed", fewest=2) as start:
        survivor, first = (start(number, "--steps", "12", "--pause", "0.2") for number in (0, 1))
        first.until(4)
        first.end()
        second = start(1, "--steps", "12", "--pause", "0")
        for replica in (survivor, second):
            replica.until(12)
        assert dict(survivor.steps) == expected
        assert dict(second.steps).items() <= expected.items()
    assert second.steps[-1] == (12, expected[12])
