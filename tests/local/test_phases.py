"""The phases of a heal follow each other without a gap, and say nothing of what did not happen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders_core import NOW, SCHEMA, a_job, a_report, digest_of, ended, heard, m
from checkpointheal.contract.gateway import Assignment, Peer, TrainerFacts, TransferFacts
from checkpointheal.contract.identity import Endpoint
from checkpointheal_operator.core.reasons import Cause, Rung
from checkpointheal_operator.core.view import HealRecord
from checkpointheal_operator.local.phases import PHASES, SeenHeal, phases, see
from checkpointheal_operator.local.summary import donor_of, summary

SECONDS = st.floats(0, 1000)
BY_PEER = st.fixed_dictionaries(dict.fromkeys(("restart", "choose", "hold", "transfer", "verify", "others"), SECONDS))


def a_peer(text: str) -> Peer:
    return Peer(
        member=m(text), pod=f"trainer-{m(text).replica}", pod_uid=f"u{text}", endpoint=Endpoint(host="h", port=1)
    )


def a_heal(**changes: object) -> HealRecord:
    """A heal of 1/0, healed from its own memory."""
    known = {
        "name": "h1",
        "recipient": m("1/0"),
        "pod_uid": "u1/0",
        "agent": "a1/0",
        "request": 2,
        "incarnation": "t1/0'",
        "cause": Cause.CRASHED,
        "noticed_at": 100.0,
        "opened_at": 103.0,
        "epoch": 2,
        "rung": Rung.OWN_MEMORY,
        "begun_at": 104.0,
        "concluded_at": 106.0,
        "healed": True,
        "reason": "Healed",
        "applied_seconds": 0.5,
    }
    return HealRecord.model_validate(known | changes)


def by_peer(spent: dict[str, float]) -> HealRecord:
    """A heal of 1/0 from 0/0, with 2/0 next, whose moments are so far apart."""
    opened = 100.0 + spent["restart"]
    assigned = opened + spent["choose"]
    begun = assigned + sum(spent[name] for name in ("hold", "transfer", "verify", "others"))
    assignment = Assignment(
        heal="h1",
        attempt=2,
        recipient=a_peer("1/0"),
        donors=(a_peer("0/0"), a_peer("2/0")),
        step=7,
        schema_digest=SCHEMA,
        state_digest=digest_of(0, 7),
        deadline=30,
    )
    transfer = TransferFacts(
        heal="h1",
        attempt=2,
        state="verified",
        donor="trainer-0",
        bytes=12_345,
        total=12_345,
        **{f"{name}_seconds": spent[name] for name in ("hold", "transfer", "verify")},
    )
    moments = {"noticed_at": 100.0, "opened_at": opened, "assigned_at": assigned, "begun_at": begun}
    return a_heal(cause=Cause.REPLACED, rung=Rung.PEER, assignment=assignment, transfer=transfer, **moments)


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


def test_the_donor_is_the_one_that_gave_and_not_the_one_that_was_chosen_first() -> None:
    heal = by_peer(dict.fromkeys(("restart", "choose", "hold", "transfer", "verify", "others"), 1.0))
    assert donor_of(SeenHeal(heal)) == "0/0"
    assert heal.transfer is not None
    other = heal.transfer.model_copy(update={"donor": "trainer-2"})
    assert donor_of(SeenHeal(heal.model_copy(update={"transfer": other}))) == "2/0"
    assert donor_of(SeenHeal(a_heal())) is None


def test_the_summary_has_a_line_for_each_heal_that_is_over() -> None:
    spent = dict.fromkeys(("restart", "choose", "hold", "transfer", "verify", "others"), 1.0)
    heals = [SeenHeal(a_heal(), step=9, rejoined_seconds=2), SeenHeal(by_peer(spent), step=7)]
    unfinished = SeenHeal(a_heal(concluded_at=None))
    head, own, peer = summary([*heals, unfinished]).splitlines()
    assert head.split() == ["recipient", "donor", "cause", "rung", "step", "bytes", *PHASES[1:]]
    assert own.split() == ["1/0", "-", "Crashed", "OwnMemory", "9", "-", "3.00", *"----", "1.00", "0.50", "2.00"]
    assert peer.split()[:6] == ["1/0", "0/0", "Replaced", "Peer", "7", "12,345"]
    assert peer.split()[6:] == ["1.00"] * 6 + ["0.50", "-"]


def test_a_heal_that_came_to_nothing_says_why() -> None:
    heal = a_heal(healed=False, reason="RecipientGone", rung=None, begun_at=None, applied_seconds=None)
    assert "RecipientGone" in summary([SeenHeal(heal)])


def test_where_nobody_was_healed_the_summary_says_so() -> None:
    assert summary([SeenHeal(a_heal(concluded_at=None))]) == "nobody had to be healed\n"
