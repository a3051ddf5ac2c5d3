"""What is replicated, what is private, and what is no state at all."""

import random
from collections import Counter, OrderedDict, UserDict, defaultdict
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch import nn

from builders_memory import unpacked
from checkpointheal.errors import Misuse
from checkpointheal.manifest import pack
from checkpointheal.trainer.parts import declare


class Sampler:
    def __init__(self) -> None:
        self.position = 0

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


def draws():
    return torch.rand(3).tolist(), random.random(), np.random.rand(2).tolist()


def test_the_replicated_tree_shares_memory_with_the_model():
    model = nn.Linear(2, 2)
    state = declare({"model": model}, {}).replicated_state()
    assert state["model"]["weight"].data_ptr() == model.weight.data_ptr()


@pytest.mark.parametrize("wrap", [lambda m: m, nn.Sequential])
def test_batchnorm_statistics_are_private_and_its_weights_are_not(wrap):
    parts = declare({"model": wrap(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)))}, {})
    shared, own = parts.replicated_state()["model"], parts.private_state()["buffers"]["model"]
    assert {key.rpartition(".")[2] for key in own} == {"running_mean", "running_var", "num_batches_tracked"}
    assert not set(own) & set(shared)
    assert any(key.endswith("1.weight") for key in shared)


class Twice(nn.Module):
    """One norm under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.BatchNorm1d(4)


OF_A_RANK = {"running_mean", "running_var", "num_batches_tracked"}


@pytest.mark.parametrize(
    "model",
    [Twice(), nn.Sequential(nn.InstanceNorm1d(4, track_running_stats=True))],
    ids=["by two names", "InstanceNorm"],
)
def test_statistics_of_a_rank_are_private_by_whatever_name(model):
    parts = declare({"model": model}, {})
    shared, own = parts.replicated_state()["model"], parts.private_state()["buffers"]["model"]
    assert {key.rpartition(".")[2] for key in own} == OF_A_RANK
    assert not {key.rpartition(".")[2] for key in shared} & OF_A_RANK


def test_synchronised_batchnorm_is_replicated():
    model = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm1d(4)))
    assert declare({"model": model}, {}).private_state()["buffers"] == {}


def test_every_random_stream_goes_on_where_it_was():
    parts = declare({"model": nn.Linear(1, 1)}, {})
    kept = parts.private_state()
    expected = draws()
    draws()
    parts.put_back_private(kept)
    assert draws() == expected


def test_private_parts_and_buffers_come_back():
    norm, sampler = nn.BatchNorm1d(2), Sampler()
    parts = declare({"model": norm}, {"data": sampler})
    sampler.position = 7
    norm(torch.randn(4, 2))
    kept = parts.private_state()
    kept["buffers"]["model"] = {key: value.clone() for key, value in kept["buffers"]["model"].items()}
    expected = norm.running_mean.clone()
    sampler.position = 9
    norm(torch.randn(4, 2))
    parts.put_back_private(kept)
    assert sampler.position == 7
    assert torch.equal(norm.running_mean, expected)


@pytest.mark.parametrize(
    ("kept", "named"),
    [
        ({"running_mean": torch.ones(1)}, r"model\.running_mean was kept with shape \(1,\), and has \(4,\) here"),
        ({"elsewhere": torch.ones(4)}, r"the buffer model\.elsewhere, which the module does not have"),
    ],
    ids=["another shape", "another module"],
)
def test_a_kept_buffer_that_does_not_fit_is_named_before_anything_is_changed(kept, named):
    norm, sampler = nn.BatchNorm1d(4), Sampler()
    parts = declare({"model": norm}, {"data": sampler})
    state = parts.private_state() | {"buffers": {"model": {"running_var": torch.full((4,), 2.0), **kept}}}
    sampler.position = 9
    with pytest.raises(Misuse, match=named):
        parts.put_back_private(state)
    assert torch.equal(norm.running_mean, torch.zeros(4))
    assert torch.equal(norm.running_var, torch.ones(4))
    assert sampler.position == 9


def test_a_part_without_a_state_dict_is_named():
    with pytest.raises(Misuse, match="step_count is a int"):
        declare({"step_count": 3}, {})


def test_a_private_part_without_a_state_dict_is_named():
    with pytest.raises(Misuse, match="data is a list"):
        declare({"model": nn.Linear(1, 1)}, {"data": []})


def test_nothing_to_protect_is_refused():
    with pytest.raises(Misuse, match="nothing to protect"):
        declare({}, {})


class Draws:
    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def state_dict(self):
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.generator.set_state(state["generator"])


def test_a_generator_that_travelled_is_given_a_tensor_that_torch_can_read():
    parts = declare({"model": nn.Linear(1, 1)}, {"data": Draws(1)})
    kept = pack(parts.private_state())
    later = declare({"model": nn.Linear(1, 1)}, {"data": (draws := Draws(2))})
    later.put_back_private(unpacked(kept))
    assert torch.equal(draws.generator.get_state(), Draws(1).generator.get_state())


class Held:
    def __init__(self, held) -> None:
        self.held = held

    def state_dict(self):
        return self.held

    def load_state_dict(self, state):
        self.held = state


@pytest.mark.parametrize("held", [7, [1, 2], (1, "x"), None, MappingProxyType({"n": 1})], ids=repr)
def test_a_private_part_s_state_need_be_no_mapping(held):
    kept = pack(declare({"model": nn.Linear(1, 1)}, {"count": Held(held)}).private_state())
    later = declare({"model": nn.Linear(1, 1)}, {"count": (fresh := Held(0))})
    later.put_back_private(unpacked(kept))
    assert fresh.held == held


class Log(dict):
    """A mapping of the user's own."""


MAPPINGS = {
    "a Counter": (Counter(a=2), Counter),
    "a defaultdict": (defaultdict(list, a=[1]), defaultdict),
    "an OrderedDict": (OrderedDict(b=1, a=2), OrderedDict),
    "a defaultdict of what cannot cross": (defaultdict(lambda: 7, a=1), dict),
    "one of the user's own": (Log(a=1), dict),
    "one that is no dict": (UserDict(a=1), dict),
}


@pytest.mark.parametrize(("held", "kind"), MAPPINGS.values(), ids=MAPPINGS)
def test_a_private_part_s_mapping_stays_what_it_is_where_that_is_known_everywhere(held, kind):
    kept = pack(declare({"model": nn.Linear(1, 1)}, {"it": Held(held)}).private_state())
    later = declare({"model": nn.Linear(1, 1)}, {"it": (fresh := Held(None))})
    later.put_back_private(unpacked(kept))
    assert type(fresh.held) is kind
    assert list(fresh.held.items()) == list(held.items())
    assert getattr(fresh.held, "default_factory", None) is (list if kind is defaultdict else None)
