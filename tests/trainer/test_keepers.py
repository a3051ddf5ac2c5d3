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


def a_pair(make):
    """What it holds by two names, which may be one tensor or two."""

    def of(number):
        first, second = make(torch.full((3,), float(number)))
        return Keeper(a=first, b=second, n=number)

    return of


def trained(keeper, *others):
    (keeper.held["a"].square().sum() + (3 * keeper.held["b"]).square().sum()).backward()
    return [each.grad.tolist() for each in (keeper.held["a"], keeper.held["b"], *others)]


def one_latent(memory):
    return [memory.requires_grad_()] * 2


def one_parameter(memory):
    return [nn.Parameter(memory)] * 2


def two_over_one_memory(memory):
    return nn.Parameter(memory), nn.Parameter(memory)


@BOTH
@pytest.mark.parametrize("make", [one_latent, one_parameter, two_over_one_memory])
def test_a_tensor_by_two_names_has_one_gradient_and_two_have_two(give, make):
    kept, fresh = a_pair(make)(1), a_pair(make)(2)
    give(kept, fresh)
    assert (fresh.held["a"] is fresh.held["b"]) is (kept.held["a"] is kept.held["b"])
    assert trained(fresh) == trained(kept)


@BOTH
def test_a_tensor_by_two_names_is_one_where_nothing_like_it_was_before(give):
    kept, fresh = a_pair(one_latent)(1), Keeper(n=2)
    give(kept, fresh)
    assert fresh.held["a"] is fresh.held["b"]
    assert trained(fresh) == trained(kept)


def tied_to(model, number):
    return {"model": model, "it": Keeper(a=model.weight, b=model.weight, n=number)}


def test_a_weight_that_a_part_keeps_as_well_is_still_the_model_s():
    kept, fresh = tied_to(nn.Linear(3, 1), 1), tied_to(nn.Linear(3, 1), 2)
    weight = fresh["model"].weight
    apply(declare(fresh, {}), given(**kept))
    assert fresh["it"].held["a"] is fresh["it"].held["b"] is weight
    assert trained(fresh["it"], weight) == trained(kept["it"], kept["model"].weight)


def test_a_tensor_of_another_part_is_that_tensor():
    def parts(number, held):
        latent = torch.full((3,), float(number), requires_grad=True)
        return {"first": Keeper(z=latent), "it": Keeper(n=number, **held(latent))}

    fresh = parts(2, lambda _: {})
    latent = fresh["first"].held["z"]
    apply(declare(fresh, {}), given(**parts(1, lambda latent: {"z": latent})))
    assert fresh["it"].held["z"] is latent
    assert latent.tolist() == [1.0, 1.0, 1.0]


def test_a_weight_that_lies_elsewhere_in_its_memory_is_not_taken_for_it():
    def parts(number, begin):
        whole = torch.full((4,), float(number))
        whole[begin] = 9.0
        return {"first": Keeper(all=whole), "it": Keeper(n=number, one=whole[begin : begin + 2])}

    fresh = parts(2, begin=0)
    apply(declare(fresh, {}), given(**parts(1, begin=2)))
    assert fresh["it"].held["one"].tolist() == [9.0, 1.0]
    fresh["it"].held["one"][1] = 7.0
    assert fresh["first"].held["all"].tolist() == [1.0, 1.0, 9.0, 7.0]


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


def test_a_dtensor_that_another_part_keeps_is_that_tensor(mesh):
    def parts(number):
        latent = nn.Parameter(DTensor.from_local(torch.full((2, 3), float(number)), mesh, [Shard(0)]))
        return {"first": Keeper(z=latent), "it": Keeper(z=latent, n=number)}

    fresh = parts(2)
    latent = fresh["first"].held["z"]
    apply(declare(fresh, {}), given(**parts(1)))
    assert fresh["it"].held["z"] is latent
    assert torch.equal(latent.full_tensor(), torch.full((2, 3), 1.0))


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
