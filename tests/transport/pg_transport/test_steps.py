"""A recipient may ask for one step, and takes no other one."""

from typing import Any

import pytest
import torch

import builders_ends
import builders_pg as build
from checkpointheal.errors import Abandoned, PeerRefused

SENTENCE = "the donor offers step 4, step 3 is assigned"


def a_state() -> dict[str, Any]:
    return {"w": torch.arange(1000)}


@pytest.mark.parametrize("asked", [None, 4], ids=["whichever", "the one that is sent"])
def test_the_step_that_is_asked_for_is_taken(asked: int | None) -> None:
    giving, taking = builders_ends.gloo_groups()
    _, received = builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], a_state(), step=4),
        lambda: build.a_transport(taking).recv_checkpoint(0, step=asked),
    )
    assert build.same(received, a_state())


def test_another_step_is_refused_by_name_before_a_byte_crosses_and_a_later_one_is_taken() -> None:
    (giving, taking), target = builders_ends.gloo_groups(), {"w": torch.zeros(1000, dtype=torch.int64)}
    recording = build.Recording(giving)
    sender, receiver = build.a_transport(recording), build.a_transport(taking, target)
    gave, took = builders_ends.side_by_side(
        lambda: sender.send_checkpoint([1], a_state(), step=4), lambda: receiver.recv_checkpoint(0, step=3)
    )
    assert isinstance(took, Abandoned)
    assert str(took) == SENTENCE
    assert isinstance(gave, PeerRefused)
    assert str(gave) == f"Abandoned: {SENTENCE}"
    assert not target["w"].any()
    assert len(recording.sent) == 2, "prefix and header of the offer, and nothing after them"
    builders_ends.side_by_side(
        lambda: sender.send_checkpoint([1], a_state(), step=4), lambda: receiver.recv_checkpoint(0, step=4)
    )
    assert build.same(target, a_state())


def test_of_several_donors_one_of_another_step_is_left_out() -> None:
    *giving, taking = builders_ends.gloo_groups(3)
    stale, current, received = builders_ends.side_by_side(
        lambda: build.a_transport(giving[0]).send_checkpoint([2], {"w": torch.zeros(1000)}, step=2),
        lambda: build.a_transport(giving[1]).send_checkpoint([2], a_state(), step=3),
        lambda: build.a_transport(taking).recv_checkpoint([0, 1], step=3),
    )
    assert isinstance(stale, PeerRefused)
    assert current is None
    assert build.same(received, a_state())
