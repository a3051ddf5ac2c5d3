"""What an agent says of its member becomes a reason, a sentence and what helps."""

import pytest

from builders_core import a_report, m
from checkpointheal.contract.report import Flaw, TrainerFacts
from checkpointheal_operator.core.protection import FLAWS, flaws_of

MEMBER, MIB = m("1/0"), 1 << 20


def told(*flaws: Flaw, **changes: object) -> list[tuple[str, str]]:
    report = a_report(MEMBER, 10, flaws=flaws, **changes)
    return [(str(each.reason), each.message) for each in flaws_of(report, MEMBER)]


@pytest.mark.parametrize(
    ("sizes", "remedy"),
    [
        ({"arena_bytes": 530 * MIB}, "annotate its pod template with checkpointheal.dev/arena-size: 530Mi"),
        ({"arena_bytes": 530 * MIB + 1}, "annotate its pod template with checkpointheal.dev/arena-size: 531Mi"),
        ({"arena_bytes": 2048 * MIB}, "annotate its pod template with checkpointheal.dev/arena-size: 2Gi"),
        (
            {"memory_bytes": 1},
            "annotate its pod template with checkpointheal.dev/agent-memory, by 1Mi more than it has now",
        ),
        ({}, "the arena is full"),
    ],
)
def test_an_arena_that_does_not_fit_names_the_annotation_that_mends_it(sizes, remedy):
    flaw = Flaw(reason="ArenaDoesNotFit", message="the arena is full", **sizes)
    assert told(flaw) == [("ArenaDoesNotFit", f"1/0 is not protected: its state does not fit into its arena: {remedy}")]


@pytest.mark.parametrize("reason", sorted(FLAWS))
def test_every_flaw_keeps_its_word_and_what_the_agent_says(reason):
    assert told(Flaw(reason=reason, message="it is so")) == [(reason, reason.tell(member=MEMBER, what="it is so"))]


def test_a_bare_word_says_that_there_is_no_more():
    assert told(conditions=("ArenaUnusable",)) == [
        ("ArenaUnusable", "1/0 is not protected: its arena cannot be used: its agent says no more")
    ]


def test_a_word_of_a_newer_agent_is_passed_on():
    assert told(Flaw(reason="Newer", message="it is so"), conditions=("Bare", "Newer")) == [
        ("Unprotected", "1/0 is not protected: Bare"),
        ("Unprotected", "1/0 is not protected: Newer: it is so"),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"conditions": ("NoPolicy",)},
        {"conditions": ("ArenaDoesNotFit",), "trainer": TrainerFacts(state="done")},
        {},
    ],
    ids=["that it has no policy", "one that is done", "nothing"],
)
def test_what_others_know_better_and_what_is_over_is_not_told(changes):
    assert told(**changes) == []
