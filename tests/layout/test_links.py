"""The bench over links says what its samples come to, and its processes do as they are told, or are gone."""

import os
import time

import pytest
from bench.links import figures, network
from bench.links.crew import Prepare, Told, crew, together
from bench.links.network import NoNetwork
from bench.table import Row


def kept(rows: list[Row]) -> dict[str, bool]:
    """Of every promise."""
    return {row.what: row.is_kept for row in rows if row.target is not None}


def test_so_many_donors_may_take_a_ninth_more_than_their_share_of_the_time() -> None:
    rows = figures.striped({1: [8.0, 8.0, 8.0], 2: [9.0, 4.4, 4.4], 4: [2.3, 2.3, 1.0]}, 800, "links")
    assert kept(rows) == {
        "2 donors: 2 x their time over one donor's": True,
        "4 donors: 4 x their time over one donor's": False,
    }
    assert rows[0] == Row("1 donor", 8.0, "s", None, "100.0 MB/s")


def test_a_chain_is_measured_by_its_last_recipient() -> None:
    rows = figures.chained({1: [4.0], 4: [4.9], 8: [5.1]}, 400, "links")
    assert kept(rows) == {
        "chain of 4: its time over one recipient's": True,
        "chain of 8: its time over one recipient's": False,
    }


@pytest.mark.parametrize(("sent", "is_kept"), [([29, 1], True), ([30, 1], False)])
def test_a_delta_is_what_both_sides_sent(sent: list[int], is_kept: bool) -> None:
    row = figures.delta(sent, 1, 100, 1000)
    assert (row.value, row.is_kept) == (sum(sent) / 1000, is_kept)


def test_memory_out_of_place_is_what_lies_above_one_state() -> None:
    rows = figures.memory(64_000_000, 65_000_000, 1_064_000_000, 1_000_000_000)
    assert [(row.value, row.is_kept) for row in rows] == [(64, True), (65, False), (64, True)]


def test_training_is_compared_with_what_it_was_just_before() -> None:
    rows = figures.slowed([(1.05, 1.0), (2.1, 2.0), (9.0, 1.0)], [0.1], "a link")
    assert rows[-1].value == pytest.approx(1.05)
    assert rows[-1].is_kept


def test_who_is_not_root_is_told_so_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoNetwork, match="root"):
        network.require_permitted()


def test_a_crew_prepares_then_goes_and_ends_with_its_conductor() -> None:
    def counting() -> Prepare:
        prepared: list[Told] = []

        def prepare(told: Told) -> "object":
            prepared.append(told)
            return lambda: {"pid": os.getpid(), "prepared": len(prepared), "told": told["word"]}

        return prepare  # type: ignore[return-value]

    with crew([counting, counting]) as members:
        for round_ in (1, 2):
            began, answers = together({member: {"word": member.rank} for member in members})
            assert began <= time.monotonic()
            assert [answers[member]["told"] for member in members] == [0, 1]
            assert {answer["prepared"] for answer in answers.values()} == {round_}
        pids = {answer["pid"] for answer in answers.values()}
    assert len(pids) == 2
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_a_member_that_fails_is_told_by_name_and_the_others_are_gone() -> None:
    def failing() -> Prepare:
        raise SystemExit(3)

    def patient() -> Prepare:
        return lambda told: lambda: told

    with pytest.raises(RuntimeError, match="has ended"), crew([patient, failing]):
        raise AssertionError("nobody comes here")
