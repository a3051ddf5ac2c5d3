"""A live target is filled by several donors, and passed on while it is filled, as by one: verified or spoiled."""

import copy
import math
from typing import Any

import pytest
import torch

import builders_ends
import builders_pg as build
from checkpointheal import digest
from checkpointheal.errors import CheckpointHealError, TargetInvalid

CHUNK = digest.CHUNK_BYTES


def a_state(value: int, chunks: int = 8) -> dict[str, Any]:
    return {"w": torch.full((chunks * CHUNK // 4,), float(value)), "step": value}


def test_several_donors_fill_a_live_target_though_one_of_them_dies() -> None:
    state, target = a_state(2), a_state(1)
    groups = builders_ends.gloo_groups(3)
    receiver = build.a_receiver(groups[2], target, 3)
    _, gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(build.dying(groups[0], 1), seconds=5).send_checkpoint([2], state),
        lambda: build.a_transport(groups[1]).send_checkpoint([2], copy.deepcopy(state)),
        lambda: receiver.recv_checkpoint([0, 1]),
    )
    assert gave is None
    assert build.same(took, state)
    assert took["w"] is target["w"]
    receiver.guard(module := torch.nn.Linear(1, 1))
    module(torch.ones(1))


def test_several_donors_bring_only_what_differs() -> None:
    state, target = a_state(2), a_state(2)
    target["w"][3 * CHUNK // 4] = target["w"][-1] = 0
    groups = builders_ends.gloo_groups(3)
    recording = [build.Recording(group) for group in groups[:2]]
    *_, took = builders_ends.side_by_side(
        *(lambda donor=donor: build.a_transport(donor).send_checkpoint([2], state) for donor in recording),
        lambda: build.a_receiver(groups[2], target, 20).recv_checkpoint([0, 1], delta=True),
    )
    assert build.same(took, state)
    assert sum(len(each.sent) - 2 for each in recording) in (2, 3), "an idle donor may repeat a late one's"


def test_a_target_whose_donors_all_died_is_spoiled() -> None:
    state, target = a_state(2), a_state(1)
    groups = builders_ends.gloo_groups(3)
    receiver = build.a_receiver(groups[2], target, 2)
    *_, took = builders_ends.side_by_side(
        *(
            lambda group=group: build.a_transport(build.dying(group, 2), seconds=4).send_checkpoint([2], state)
            for group in groups[:2]
        ),
        lambda: receiver.recv_checkpoint([0, 1]),
    )
    assert isinstance(took, CheckpointHealError)
    came, lacking = (target["w"] == 2).sum(), target["w"].isnan().sum()
    assert came + lacking == target["w"].numel()
    assert came > 0
    assert lacking > 0
    module = torch.nn.Linear(1, 1)
    receiver.guard(module)
    with pytest.raises(TargetInvalid):
        module(torch.ones(1))


def test_a_chain_passes_on_what_it_fills_its_own_target_with() -> None:
    state, targets = a_state(3), [a_state(1), a_state(2)]
    groups = builders_ends.gloo_groups(3)
    donor = build.Recording(groups[0])
    _, near, far = builders_ends.side_by_side(
        lambda: build.a_transport(donor).send_checkpoint([1], state),
        lambda: build.a_receiver(groups[1], targets[0], 20).recv_checkpoint(0, relay_to=[2]),
        lambda: build.a_receiver(groups[2], targets[1], 20).recv_checkpoint(1),
    )
    for took, target in zip((near, far), targets, strict=True):
        assert build.same(took, state)
        assert took["w"] is target["w"]
    assert len(donor.sent) == 2 + 8, "each chunk once"


def test_what_lies_there_already_is_passed_on_too() -> None:
    state, targets = a_state(3), [a_state(3), a_state(2)]
    targets[0]["w"][0] = 0
    groups = builders_ends.gloo_groups(3)
    donor = build.Recording(groups[0])
    _, near, far = builders_ends.side_by_side(
        lambda: build.a_transport(donor).send_checkpoint([1], state),
        lambda: build.a_receiver(groups[1], targets[0], 20).recv_checkpoint(0, relay_to=[2], delta=True),
        lambda: build.a_receiver(groups[2], targets[1], 20).recv_checkpoint(1),
    )
    assert build.same(near, state)
    assert build.same(far, state)
    assert len(donor.sent) == 2 + 1


def test_a_chain_that_broke_leaves_each_target_verified_or_nan() -> None:
    state, targets = a_state(3), [a_state(1), a_state(2)]
    state["w"].fill_(math.pi)  # without a byte of 0, which stands for what will never come: a buffer may hold the rest
    groups = builders_ends.gloo_groups(3)
    _, near, far = builders_ends.side_by_side(
        lambda: build.a_transport(build.dying(groups[0], 3), seconds=4).send_checkpoint([1], state),
        lambda: build.a_receiver(groups[1], targets[0], 2).recv_checkpoint(0, relay_to=[2]),
        lambda: build.a_receiver(groups[2], targets[1], 6).recv_checkpoint(1),
    )
    assert isinstance(near, CheckpointHealError)
    assert isinstance(far, CheckpointHealError)
    for target in targets:
        assert ((target["w"] == state["w"]) | target["w"].isnan()).all()
        assert target["w"].isnan().any()
