"""Only what differs crosses: after a broken transfer, the rest of it, whoever gives it."""

import copy
from typing import Any

import pytest
import torch

import builders_ends
import builders_pg as build
from checkpointheal import PGTransport, digest

CHUNK = digest.CHUNK_BYTES


def a_state(seed: int, chunks: int = 6) -> dict[str, Any]:
    """As many chunks of one part each: a large tensor, then small ones; and two values."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "w": torch.randn((chunks - 1) * CHUNK // 4, generator=generator),
        "small": torch.randn(100, generator=generator),
        "n": torch.tensor([seed]),
        "step": seed,
        "lr": 0.5,
    }


def crossed(target: Any, state: Any, **options: Any) -> list[int]:
    """The bytes of each part that crossed; the target then is the state."""
    giving, taking = builders_ends.gloo_groups()
    recording = build.Recording(giving)
    receiver = PGTransport(taking, build.timedelta(seconds=20), build.CPU, lambda: target, **options)
    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(recording).send_checkpoint([1], state),
        lambda: receiver.recv_checkpoint(0, delta=True),
    )
    assert gave is None
    assert build.same(took, state)
    assert took["w"] is target["w"]
    return recording.sent[2:]


@pytest.mark.parametrize("staged", [True, False], ids=["staged", "in place"])
def test_an_older_state_brings_only_the_chunks_that_changed(staged: bool) -> None:
    target, state = a_state(1), a_state(1)
    state["w"][3 * CHUNK // 4] += 1
    state["step"] = 2
    assert crossed(target, state, staged=staged) == [CHUNK]
    assert crossed(target, state, staged=staged) == [], "and nothing, where nothing has changed"


def test_without_being_asked_for_it_all_crosses() -> None:
    giving, taking = builders_ends.gloo_groups()
    recording = build.Recording(giving)
    builders_ends.side_by_side(
        lambda: build.a_transport(recording).send_checkpoint([1], a_state(1)),
        lambda: build.a_transport(taking, a_state(1)).recv_checkpoint(0),
    )
    assert len(recording.sent) == 2 + 6


def test_a_target_that_lies_otherwise_takes_all() -> None:
    state = a_state(1)
    target = {**copy.deepcopy(state), "small": torch.zeros(101)[1:]}
    assert len(crossed(target, state)) == 6


@pytest.mark.parametrize("chunks", range(1, 6))
def test_a_second_donor_goes_on_where_the_first_one_died(chunks: int) -> None:
    state, target = a_state(1), a_state(2)
    build.broken_after(chunks, target, state)
    sent = crossed(target, copy.deepcopy(state))
    assert len(sent) == 6 - chunks
    assert sum(sent) <= (6 - chunks) * CHUNK


def test_so_it_does_over_the_same_group_where_that_has_outlived_it() -> None:
    """A group of streams is one connection for each rank: the others know nothing of a death."""
    state, target = a_state(1), a_state(2)
    groups = builders_ends.gloo_groups(3)
    second = build.Recording(groups[1])
    receiver = PGTransport(groups[2], build.timedelta(seconds=20), build.CPU, lambda: target)

    def refuse(number: int) -> None:
        if number == 4:
            state["w"].data[-1] += 1

    dead = build.Recording(groups[0], refuse)
    spare = copy.deepcopy(state)
    builders_ends.side_by_side(
        lambda: build.a_transport(dead).send_checkpoint([2], state), lambda: receiver.recv_checkpoint(0)
    )
    assert target["w"].isnan().any()
    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(second).send_checkpoint([2], spare),
        lambda: receiver.recv_checkpoint(1, delta=True),
    )
    assert gave is None
    assert build.same(took, spare)
    assert len(second.sent) == 2 + 1, "the one chunk that came with other bytes"


def test_a_resumed_transfer_may_break_again() -> None:
    state, target = a_state(1), a_state(2)
    build.broken_after(2, target, state)
    build.broken_after(2, target, state, delta=True)
    assert len(crossed(target, state)) == 2
