"""A part that keeps what it is given has what another one held: gradients, strides, ties, DTensors."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from builders_trainer import given
from checkpointheal.manifest import describe, pack, unpack_apart
from checkpointheal.trainer.apply import apply
from checkpointheal.trainer.parts import declare


class Keeper:
    """A part that holds a tree, and takes over the one that it is given."""

    def __init__(self, **held) -> None:
        self.held = held

    def state_dict(self):
        return self.held

    def load_state_dict(self, state):
        self.held = state


def as_public(kept, fresh):
    apply(declare({"it": fresh}, {}), given(it=kept))


def as_private(kept, fresh):
    model = {"model": nn.Linear(1, 1)}
    parts = declare(model, {"it": fresh})
    blob = pack(declare(model, {"it": kept}).private_state())
    state, _ = unpack_apart(blob, "parts", describe(parts.private_state()).leaves)
    parts.put_back_private(state)


def a_latent(number):
    return Keeper(z=torch.full((3,), float(number), requires_grad=True), n=number)


def a_parameter(number):
    return Keeper(z=nn.Parameter(torch.full((3,), float(number))), n=number)


def a_slice(number):
    return Keeper(z=torch.full((10, 4), float(number))[:, :2], n=number)


def an_expanded(number):
    return Keeper(z=torch.full((3, 1), float(number)).expand(3, 4), n=number)


def overlapping(number):
    return Keeper(z=torch.full((6,), float(number)).unfold(0, 3, 1), n=number)


BOTH = pytest.mark.parametrize("give", [as_public, as_private])


@BOTH
@pytest.mark.parametrize("make", [a_latent, a_parameter, a_slice, an_expanded, overlapping])
def test_a_tensor_is_as_it_was_made(give, make):
    kept, fresh = make(1), make(2)
    give(kept, fresh)
    then, now = kept.held["z"], fresh.held["z"]
    assert torch.equal(then, now)
    assert (type(then), then.stride(), then.requires_grad) == (type(now), now.stride(), now.requires_grad)
    assert now.is_leaf


@BOTH
def test_a_latent_is_trained_on(give):
    kept, fresh = a_latent(1), a_latent(2)
    give(kept, fresh)
    for each in (kept, fresh):
        optimizer = torch.optim.SGD([each.held["z"]], lr=0.1)
        each.held["z"].square().sum().backward()
        optimizer.step()
    assert torch.equal(kept.held["z"], fresh.held["z"])
    copy.deepcopy(fresh.held)


@BOTH
def test_a_view_still_is_one_of_what_it_viewed(give):
    def replay(number):
        whole = torch.full((6,), float(number))
        return Keeper(all=whole, recent=whole[4:], n=number)

    kept, fresh = replay(1), replay(2)
    give(kept, fresh)
    fresh.held["recent"].fill_(7.0)
    assert fresh.held["all"].tolist() == [1.0, 1.0, 1.0, 1.0, 7.0, 7.0]


@pytest.fixture
def mesh(world_of_one):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    return init_device_mesh("cpu", (1,))


@BOTH
def test_a_dtensor_is_laid_out_as_the_live_one_is(give, mesh):
    def average(number):
        shadow = DTensor.from_local(torch.full((2, 3), float(number)), mesh, [Shard(0)])
        return Keeper(shadow=[shadow], n=number)

    kept, fresh = average(1), average(2)
    give(kept, fresh)
    (shadow,) = fresh.held["shadow"]
    assert shadow.placements == (Shard(0),)
    assert torch.equal(shadow.full_tensor(), torch.full((2, 3), 1.0))


class Counting(nn.Module):
    """Its state has a plain value besides its tensors."""

    def __init__(self, number, mesh) -> None:
        super().__init__()
        self.weight = nn.Parameter(DTensor.from_local(torch.full((2, 3), float(number)), mesh, [Shard(0)]))
        self.calls = number

    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = state["calls"]


def test_a_module_of_dtensors_gets_its_plain_values(mesh):
    kept, fresh = Counting(1, mesh), Counting(2, mesh)
    weight = fresh.weight
    as_public(kept, fresh)
    assert fresh.calls == 1
    assert fresh.weight is weight
    assert torch.equal(weight.full_tensor(), torch.full((2, 3), 1.0))
