"""Which donor is asked for which chunks, and does every chunk end verified exactly once?"""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as any_

from checkpointheal.errors import BadFrame
from checkpointheal.session import Pool


def a_pool(chunks: int, *donors: int, run: int = 2) -> Pool:
    pool = Pool(range(chunks), run)
    for donor in donors:
        pool.join(donor)
    return pool


def give(pool: Pool, donor: int, chunks: tuple[int, ...], now: float) -> list[bool]:
    return [pool.arrive(donor, chunk, True, now) for chunk in chunks]


def test_each_donor_is_asked_for_the_next_run() -> None:
    pool = a_pool(6, 1, 2)
    assert [pool.ask(donor, 0) for donor in (1, 2, 1, 2, 1)] == [(0, 1), (2, 3), (4,), (5,), ()]
    assert not pool.whole


def test_runs_get_shorter_towards_the_end_so_that_all_end_together() -> None:
    pool = a_pool(10, 1, 2, run=4)
    assert [pool.ask(donor, 0) for donor in (1, 2, 1, 2)] == [(0, 1, 2, 3), (4, 5, 6), (7, 8), (9,)]


def test_a_slow_donor_is_asked_for_less() -> None:
    pool, asked = a_pool(40, 1, 2, run=1), Counter[int]()
    for now in range(100):
        for donor, pace in ((1, 1), (2, 9)):
            if now % pace == 0:
                asked.update({donor: len(chunks := pool.ask(donor, now))})
                give(pool, donor, chunks, now)
    assert pool.whole
    assert asked == {1: 36, 2: 4}


def test_what_a_lost_donor_owes_is_asked_of_another_first_chunk_first() -> None:
    pool = a_pool(8, 1, 2)
    assert (pool.ask(1, 0), pool.ask(2, 0), pool.ask(1, 0)) == ((0, 1), (2, 3), (4, 5))
    pool.arrive(1, 0, True, 1)
    pool.lose(1)
    pool.lose(1)
    assert not pool.trusts(1)
    assert pool.ask(1, 1) == ()
    assert [pool.ask(2, 1) for _ in range(4)] == [(1, 4), (5, 6), (7,), ()]


def test_a_donor_that_gives_other_bytes_is_asked_no_more_and_its_chunk_is_asked_of_another() -> None:
    pool = a_pool(5, 1, 2)
    assert (pool.ask(1, 0), pool.ask(2, 0)) == ((0, 1), (2, 3))
    assert pool.arrive(1, 0, False, 1) is False
    assert (pool.trusts(1), pool.trusts(2)) == (False, True)
    assert pool.ask(1, 1) == ()
    assert pool.arrive(1, 1, True, 1), "what is right counts all the same"
    assert pool.ask(2, 1) == (0,)


def test_who_is_idle_takes_over_what_a_silent_donor_owes_and_the_first_copy_counts() -> None:
    pool = a_pool(4, 1, 2)
    slow, fast = pool.ask(1, 0), pool.ask(2, 0) + pool.ask(2, 0)
    give(pool, 2, fast, 0.2)
    assert pool.ask(2, 0.1) == (), "it may still come in time"
    assert pool.ask(2, 1.0) == slow
    assert pool.arrive(2, slow[0], True, 1.1)
    assert not pool.arrive(1, slow[0], True, 1.2), "a second copy"
    assert pool.arrive(1, slow[1], True, 1.3)
    assert pool.whole
    assert not pool.arrive(2, slow[1], True, 1.4)
    assert pool.ask(2, 99) == ()


def test_who_had_nothing_to_do_for_long_is_not_slow_for_it() -> None:
    pool = a_pool(2, 1, 2, run=1)
    assert (pool.ask(1, 0), pool.ask(2, 100)) == ((0,), (1,))
    assert pool.arrive(2, 1, True, 101)
    assert pool.ask(2, 101) == (0,), "what the other one owes for 101 seconds it brings within one"


def test_of_a_slow_donor_the_last_chunks_are_taken_over_first() -> None:
    pool = a_pool(8, 1, 2, run=1)
    for _ in range(3):
        pool.ask(1, 0)
    for now in range(5):
        give(pool, 2, pool.ask(2, now), now + 1)
    assert [pool.ask(2, 5) for _ in range(2)] == [(2,), ()], "one run at a time"
    give(pool, 2, (2,), 6)
    assert pool.ask(2, 6) == (1,)


def test_equally_fast_donors_take_over_nothing() -> None:
    pool = a_pool(4, 1, 2)
    first, second = pool.ask(1, 0), pool.ask(2, 0) + pool.ask(2, 0)
    for now, place in ((1, 0), (2, 1)):
        pool.arrive(1, first[place], True, now)
        assert pool.ask(1, now) == ()
        pool.arrive(2, second[place], True, now + 0.5)
    assert pool.whole


def test_nothing_is_taken_over_from_who_owes_it_already() -> None:
    pool = a_pool(1, 1)
    assert pool.ask(1, 0) == (0,)
    assert pool.ask(1, 99) == ()


def test_chunks_come_in_the_order_in_which_they_were_asked_for() -> None:
    pool = a_pool(4, 1)
    pool.ask(1, 0)
    with pytest.raises(BadFrame, match="chunk 1 arrived while 0 was due"):
        pool.arrive(1, 1, True, 1)
    with pytest.raises(BadFrame, match="chunk 0 arrived while nothing was due"):
        pool.arrive(7, 0, True, 1)


def test_of_nothing_everything_is_here() -> None:
    assert a_pool(0).whole


def test_nobody_who_did_not_join_is_asked() -> None:
    assert a_pool(3, 1).ask(2, 0) == ()


@dataclass
class Acted:
    """One donor as it behaves: after so many chunks it dies, stands still, or lies; honest ones do none of it."""

    pace: int
    fate: str
    after: int
    owed: list[int] = field(default_factory=list)
    given: int = 0
    gone: bool = False

    @property
    def fallen(self) -> bool:
        return self.fate != "honest" and self.given >= self.after


donors = any_.lists(
    any_.builds(
        Acted,
        pace=any_.integers(1, 9),
        fate=any_.sampled_from(["honest", "honest", "dies", "stalls", "lies"]),
        after=any_.integers(0, 6),
    ),
    min_size=1,
    max_size=5,
)
ROUNDS = 3000


def act(pool: Pool, number: int, donor: Acted, now: int, kept: Counter[int]) -> None:
    """One turn: ask while there is room, give one chunk, or fall."""
    if donor.fallen and donor.fate == "dies":
        pool.lose(number)
        donor.gone = True
        return
    while len(donor.owed) <= 2 and (run := pool.ask(number, now)):
        assert not set(run) & {chunk for chunk, times in kept.items() if times}, "what is here is not asked for"
        donor.owed += run
    if donor.owed and not (donor.fallen and donor.fate == "stalls"):
        chunk = donor.owed.pop(0)
        kept[chunk] += pool.arrive(number, chunk, not (donor.fallen and donor.fate == "lies"), now)
        donor.given += 1


@given(donors, any_.integers(0, 24), any_.integers(1, 4))
def test_every_chunk_ends_verified_exactly_once_as_long_as_one_donor_is_honest(
    acting: list[Acted], chunks: int, run: int
) -> None:
    """Whatever donors die, stall or lie, and when."""
    pool, kept = a_pool(chunks, *range(len(acting)), run=run), Counter[int]()
    for now in range(ROUNDS):
        for number, donor in enumerate(acting):
            if not donor.gone and now % donor.pace == 0:
                act(pool, number, donor, now, kept)
        if pool.whole:
            break
    assert set(kept.values()) <= {0, 1}
    assert pool.whole is (sum(kept.values()) == chunks)
    if any(donor.fate == "honest" for donor in acting):
        assert pool.whole
    elif not pool.whole:
        assert all(donor.gone or donor.fallen for donor in acting), "somebody could still have given"
