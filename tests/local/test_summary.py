"""What is said of the heals of a job on one machine, once it is over."""

from builders_heals import a_heal, by_peer
from checkpointheal_operator.core.phases import PHASES, SeenHeal
from checkpointheal_operator.local.summary import donor_of, summary


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


def test_a_heal_with_an_earlier_private_part_is_not_told_as_any_other() -> None:
    heal = a_heal(healed=True, reason="PrivateStateBehind")
    assert summary([SeenHeal(heal, step=9)]).splitlines()[1].split()[:5] == [
        "1/0",
        "-",
        "Crashed",
        "PrivateStateBehind",
        "9",
    ]


def test_where_nobody_was_healed_the_summary_says_so() -> None:
    assert summary([SeenHeal(a_heal(concluded_at=None))]) == "nobody had to be healed\n"
