"""The phases of a heal follow each other without a gap, and say nothing of what did not happen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders_core import NOW, a_job, a_report, ended, heard, m
from builders_heals import a_heal, by_peer
from checkpointheal.contract.report import TrainerFacts
from checkpointheal_operator.core.phases import PHASES, SeenHeal, phases, see

SECONDS = st.floats(0, 1000)
BY_PEER = st.fixed_dictionaries(dict.fromkeys(("restart", "choose", "hold", "transfer", "verify", "others"), SECONDS))


@given(BY_PEER)
def test_what_crossed_from_a_peer_is_told_part_by_part(spent: dict[str, float]) -> None:
    found = phases(SeenHeal(by_peer(spent)))
    assert {name: found[name] for name in spent} == pytest.approx(spent, abs=1e-6)


@given(BY_PEER, SECONDS)
def test_from_the_failure_to_the_next_epoch_no_second_is_missing_or_told_twice(
    spent: dict[str, float], detect: float
) -> None:
    heal = by_peer(spent)
    found = phases(SeenHeal(heal), failed_at=100.0 - detect)
    assert heal.begun_at is not None
    until_begun = sum(seconds for name, seconds in found.items() if name not in ("apply", "rejoin"))
    assert until_begun == pytest.approx(heal.begun_at - 100.0 + detect, abs=1e-6)
    assert list(found) == [name for name in PHASES if name in found]


def test_a_heal_from_its_own_memory_has_no_phase_of_a_transfer() -> None:
    assert phases(SeenHeal(a_heal())) == {"restart": 3.0, "others": 1.0, "apply": 0.5}


def test_what_is_not_over_is_left_out() -> None:
    heal = a_heal(begun_at=None, concluded_at=None, applied_seconds=None)
    assert phases(SeenHeal(heal)) == {"restart": 3.0}


def test_a_transfer_that_nobody_told_of_is_told_as_the_wait_for_the_others() -> None:
    heal = by_peer(dict.fromkeys(("restart", "choose", "hold", "transfer", "verify", "others"), 1.0))
    untold = phases(SeenHeal(heal.model_copy(update={"transfer": None})))
    assert {name: untold[name] for name in ("choose", "others")} == {"choose": 1.0, "others": 4.0}
    assert "hold" not in untold
    assert "others" not in phases(SeenHeal(heal.model_copy(update={"begun_at": None})))


def test_no_phase_is_shorter_than_nothing() -> None:
    """Agent and operator read different clocks."""
    assert phases(SeenHeal(a_heal(begun_at=102.0)), failed_at=101.0)["detect"] == 0
    assert phases(SeenHeal(a_heal(begun_at=102.0)))["others"] == 0


def test_the_end_of_agreeing_and_the_step_are_seen_while_the_epoch_lasts() -> None:
    trainer = TrainerFacts(state="training", incarnation="t1/0'", epoch=2, rejoined_seconds=0.75)
    view = a_job()
    epoch = view.epoch.model_copy(update={"number": 2, "step": 9})
    report = a_report(m("1/0"), 9, trainer=trainer)
    seen = see(None, a_heal(), view.model_copy(update={"epoch": epoch, "heard": (heard(report),)}))
    assert (seen.step, seen.rejoined_seconds, phases(seen)["rejoin"]) == (9, 0.75, 0.75)
    later = see(seen, a_heal(message="later"), ended(view.model_copy(update={"heard": ()})))
    assert (later.step, later.rejoined_seconds, later.heal.message) == (9, 0.75, "later")


@pytest.mark.parametrize("changes", [{"incarnation": "another"}, {"epoch": 3}, {"epoch": 1}])
def test_another_life_of_the_member_tells_nothing_of_this_heal(changes: dict[str, object]) -> None:
    trainer = TrainerFacts(state="training", incarnation="t1/0'", epoch=2, rejoined_seconds=0.75)
    report = a_report(m("1/0"), 9, trainer=trainer.model_copy(update=changes))
    view = a_job().model_copy(update={"heard": (heard(report, NOW),)})
    assert see(None, a_heal(), view) == SeenHeal(a_heal())
