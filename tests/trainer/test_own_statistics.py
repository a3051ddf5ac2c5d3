"""A rank's own statistics are its own, whatever its module is wrapped in and however it tells them."""

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import checkpointheal
from builders_memory import unpacked
from builders_trainer import given
from checkpointheal.errors import Misuse
from checkpointheal.integrations.fsdp2 import Shards
from checkpointheal.integrations.halves import halves
from checkpointheal.manifest import pack
from checkpointheal.trainer.apply import apply
from checkpointheal.trainer.own_statistics import buffers_of_this_rank, statistics_of
from checkpointheal.trainer.parts import declare

OF_A_RANK = {"running_mean", "running_var", "num_batches_tracked"}


def a_norm():
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


class Around(nn.Module):
    """Calls what it wraps by one of torch's words, and tells copies without that word."""

    def __init__(self, word, inner) -> None:
        super().__init__()
        self.word = word
        self.add_module(word, inner)
        self.register_state_dict_post_hook(Around.strip)
        self.register_load_state_dict_pre_hook(Around.put)

    def forward(self, x):
        return self.get_submodule(self.word)(x)

    def strip(self, state, prefix, _) -> None:
        for key in list(state):
            state[key.replace(f"{self.word}.", "")] = state.pop(key).clone()

    def put(self, state, prefix, *_) -> None:
        for key in [each for each in state if each.startswith(prefix)]:
            state[f"{prefix}{self.word}.{key.removeprefix(prefix)}"] = state.pop(key)


def renamed(copy):
    """Tells all by names of its own, which no rule could guess."""
    model = a_norm()

    def rename(_, state, prefix, __) -> None:
        for number, key in enumerate(list(state)):
            state[f"k{number}"] = state.pop(key).clone() if copy else state.pop(key)

    model.register_state_dict_post_hook(rename)
    return model


WRAPPED = {
    "nothing": a_norm,
    "torch's checkpoint_wrapper": lambda: nn.Sequential(checkpoint_wrapper(a_norm())),
    "a checkpoint_wrapper in what tells copies": lambda: Around("_orig_mod", checkpoint_wrapper(a_norm())),
    "torch.compile, told as copies": lambda: Around("_orig_mod", a_norm()),
    "FSDP, told as copies": lambda: nn.Sequential(Around("_fsdp_wrapped_module", a_norm())),
}


@pytest.mark.parametrize("make", WRAPPED.values(), ids=WRAPPED)
def test_a_healed_rank_gets_its_own_statistics_and_nobody_else_s(make):
    lost, donor, fresh = make(), make(), make()
    donor.load_state_dict(lost.state_dict())
    for seed, model in enumerate((lost, donor)):
        model(torch.rand(8, 2, generator=torch.Generator().manual_seed(seed)))
    kept = pack(declare({"model": lost}, {}).private_state())
    assert bytes(given(model=lost).data) == bytes(given(model=donor).data)
    parts = declare({"model": fresh}, {})
    apply(parts, given(model=donor))
    parts.put_back_private(unpacked(kept))
    for name, buffer in lost.named_buffers():
        assert torch.equal(fresh.get_buffer(name), buffer)
    assert torch.equal(next(fresh.parameters()), next(lost.parameters()))


def test_what_lies_where_a_statistic_does_is_one_by_whatever_key():
    parts = declare({"model": renamed(copy=False)}, {})
    assert list(parts.replicated_state()["model"]) == ["k0", "k1", "k2", "k3"]
    assert parts.untold == ()


def test_a_statistic_by_another_name_of_the_module_s_is_one_as_well():
    model = a_norm()
    model.register_buffer("mean", model[1].running_mean)
    assert statistics_of(model).keys["mean"] == "1.running_mean"


def test_statistics_that_no_key_tells_are_named(monkeypatch, caplog):
    monkeypatch.delenv("CHECKPOINTHEAL_ARENA", raising=False)
    checkpointheal.attach(model=renamed(copy=True))
    (told,) = [each.message for each in caplog.records if "statistics" in each.message]
    assert "model.1.num_batches_tracked" in told
    assert "another rank's" in told


def test_statistics_that_are_not_persistent_are_left_out_without_a_word():
    model = a_norm()
    for name in OF_A_RANK:
        model[1].register_buffer(name, getattr(model[1], name), persistent=False)
    parts = declare({"model": model}, {})
    assert (parts.untold, parts.private_state()["buffers"]) == ((), {})


def test_a_statistic_that_was_taken_away_is_kept_no_more():
    model = a_norm()
    parts = declare({"model": model}, {})
    model[1].num_batches_tracked = None
    assert set(parts.private_state()["buffers"]["model"]) == {"1.running_mean", "1.running_var"}


class Asked(nn.Linear):
    """Its state dict is costly."""

    def state_dict(self, *args, **kwargs):
        raise AssertionError("nobody need ask")


def test_a_module_without_statistics_is_not_asked_for_its_state():
    assert declare({"model": Asked(2, 2)}, {}).buffers == {}


def test_a_lazy_norm_has_its_statistics_before_they_have_a_shape():
    assert set(statistics_of(nn.Sequential(nn.LazyBatchNorm1d())).keys) == {f"0.{name}" for name in OF_A_RANK}


def test_statistics_without_memory_are_told_from_each_other():
    with torch.device("meta"):
        found = statistics_of(a_norm())
    assert all(key == name for key, name in found.keys.items())
    assert set(found.keys) == {f"1.{name}" for name in OF_A_RANK}


def test_an_adapter_parts_what_is_wrapped_as_well():
    shared, own = halves(nn.Sequential(checkpoint_wrapper(a_norm())))
    assert set(own.state_dict()) == {f"0.1.{name}" for name in OF_A_RANK}
    assert not set(own.state_dict()) & set(shared.state_dict())


def test_shards_refuse_statistics_that_no_key_tells():
    model = renamed(copy=True)
    assert set(buffers_of_this_rank(model)) == {f"1.{name}" for name in OF_A_RANK}
    with pytest.raises(Misuse, match=r"1\.num_batches_tracked is a rank's own statistics"):
        Shards().fill(model, torch.optim.SGD(model.parameters()))
