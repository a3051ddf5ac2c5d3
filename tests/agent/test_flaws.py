"""A flaw stands from when it is found until a moment after it is over, one for each reason."""

import errno

import pytest

from checkpointheal.agent.flaws import LINGER, Flaws, flaw_of
from checkpointheal.contract.report import AgentReport, Flaw
from checkpointheal.errors import ArenaDoesNotFit, SlotDamaged

FULL, DAMAGED = Flaw(reason="ArenaDoesNotFit", message="full"), Flaw(reason="SlotDamaged", message="one")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_flaw_stands_until_a_moment_after_it_is_over() -> None:
    flaws = Flaws(clock := Clock())
    flaws.over("slots")
    flaws.found("slots", FULL)
    clock.now = 100.0
    assert flaws.standing() == (FULL,)
    flaws.over("slots")
    clock.now += LINGER - 1
    assert flaws.standing() == (FULL,)
    clock.now += 1
    assert flaws.standing() == ()


def test_one_that_comes_and_goes_stands_all_the_time() -> None:
    flaws = Flaws(clock := Clock())
    for _ in range(5):
        flaws.found("commit", DAMAGED)
        flaws.over("commit")
        assert flaws.standing() == (DAMAGED,)
        clock.now += LINGER - 1


def test_two_who_find_the_same_are_one_until_both_are_over() -> None:
    flaws, other = Flaws(clock := Clock()), DAMAGED.model_copy(update={"message": "two"})
    flaws.found("slot 0", DAMAGED)
    flaws.found("slot 1", other)
    flaws.found("slots", FULL)
    assert flaws.standing() == (FULL, other)
    flaws.over("slot 1")
    assert flaws.standing() == (FULL, DAMAGED), "what stands goes before what is over"
    flaws.over("slot 0")
    clock.now = LINGER
    assert flaws.standing() == (FULL,)


@pytest.mark.parametrize(
    ("error", "flaw"),
    [
        (
            ArenaDoesNotFit("full", arena_bytes=7),
            Flaw(reason="ArenaDoesNotFit", message="full", arena_bytes=7),
        ),
        (
            ArenaDoesNotFit("full", memory_bytes=7),
            Flaw(reason="ArenaDoesNotFit", message="full", memory_bytes=7),
        ),
        (SlotDamaged("gone"), Flaw(reason="SlotDamaged", message="gone")),
        (OSError(errno.EIO, "broken"), Flaw(reason="ArenaUnusable", message="[Errno 5] broken")),
    ],
)
def test_every_error_of_the_arena_is_a_flaw(error: ArenaDoesNotFit | SlotDamaged | OSError, flaw: Flaw) -> None:
    assert flaw_of(error) == flaw


@pytest.mark.parametrize(
    ("words", "flaws", "expected"),
    [
        ((), (), []),
        (("B", "A"), (), [("A", ""), ("B", "")]),
        (("A",), (Flaw(reason="A", message="a"),), [("A", "a")]),
        (("B",), (Flaw(reason="A", message="a"),), [("A", "a"), ("B", "")]),
    ],
    ids=["nothing", "an older agent's", "today's", "both"],
)
def test_a_report_tells_each_flaw_once_whichever_build_made_it(
    words: tuple[str, ...], flaws: tuple[Flaw, ...], expected: list[tuple[str, str]]
) -> None:
    report = AgentReport.model_construct(conditions=words, flaws=flaws)
    assert [(each.reason, each.message) for each in report.unprotected] == expected
