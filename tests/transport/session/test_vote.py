"""Whose state counts where several donors offer one?"""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as any_

from checkpointheal.contract.layout import Identity
from checkpointheal.errors import BytesDiffer, DonorsDisagree
from checkpointheal.session import elected, require_elected


def a_state(digit: str) -> Identity:
    return Identity(step=0, schema_digest="a" * 32, state_digest=digit * 32)


STATES = [a_state(digit) for digit in "012"]
told = any_.dictionaries(any_.integers(0, 9), any_.sampled_from(STATES), min_size=1, max_size=7)


@given(told)
def test_of_those_that_have_told_more_than_half_must_hold_the_same(told: dict[int, Identity]) -> None:
    held = list(told.values())
    winners = [state for state in STATES if 2 * held.count(state) > len(held)]
    if winners:
        assert elected(told, 0) == winners[0]
    else:
        with pytest.raises(DonorsDisagree, match="no majority"):
            elected(told, 0)


@given(told, any_.integers(1, 3))
def test_a_state_is_elected_early_only_if_no_later_word_could_change_it(told: dict[int, Identity], later: int) -> None:
    """Every way in which the others might speak, or fall silent."""
    early = elected(told, later)

    def outcome(said: tuple[Identity, ...]) -> Identity | None:
        try:
            return elected({**told, **dict(enumerate(said, 100))}, 0)
        except DonorsDisagree:
            return None

    possible = {outcome(said) for speakers in range(later + 1) for said in product(STATES, repeat=speakers)}
    assert possible == {early} if early is not None else possible == {None} or len(possible) > 1


def test_nobody_is_elected_before_anybody_has_told() -> None:
    assert elected({}, 3) is None
    assert elected({}, 0) is None


def test_a_tie_names_every_rank_and_what_it_holds() -> None:
    with pytest.raises(DonorsDisagree) as raised:
        elected({3: STATES[0], 1: STATES[1], 2: STATES[0], 4: STATES[1]}, 0)
    assert str(raised.value) == (
        "the donors hold different states, and no majority the same: ranks 1, 4: schema aaaaaaaa and state 11111111 "
        "of step 0; ranks 2, 3: schema aaaaaaaa and state 00000000 of step 0"
    )
    with pytest.raises(DonorsDisagree, match=r"rank 1: .*; rank 3: "):
        elected({3: STATES[0], 1: STATES[1]}, 0)


def test_the_minority_is_told_what_it_holds_and_what_the_others_do() -> None:
    held = {0: STATES[0], 1: STATES[1], 2: STATES[0]}
    require_elected(0, held, STATES[0])
    with pytest.raises(BytesDiffer, match=r"rank 1 holds .* state 11111111 of step 0, 2 of 3 donors hold .* 00000000"):
        require_elected(1, held, STATES[0])
