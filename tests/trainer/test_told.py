"""Whoever does more than to copy where it is loaded hears that its state was written, also where no value differs."""

import pytest
import torch
from torch import nn

from builders_trainer import given, state_digest
from checkpointheal.errors import SchemaDiffers
from checkpointheal.manifest import describe
from checkpointheal.trainer.apply import apply
from checkpointheal.trainer.loading import does_more_than_copy
from checkpointheal.trainer.parts import declare


def restored(kept: dict, fresh: dict) -> None:
    """From the first ones into the second ones, which are told to be them, bit for bit."""
    generation, held = given(**kept), describe(declare(kept, {}).replicated_state())
    assert apply(declare(fresh, {}), generation) == state_digest(held)
    assert state_digest(describe(declare(fresh, {}).replicated_state())) == state_digest(held)


class Average:
    """Begins with the weights, unless it was loaded."""

    def __init__(self, number, take=lambda held, state: held.copy_(state)) -> None:
        self.shadow, self.is_ready, self._take = torch.full((3,), float(number)), False, take

    def state_dict(self):
        return {"shadow": self.shadow}

    def load_state_dict(self, state):
        self._take(self.shadow, state["shadow"])
        self.is_ready = True


def clears_first(held, state):
    held.zero_()
    held += state


@pytest.mark.parametrize("take", [lambda held, state: held.copy_(state), clears_first], ids=["copies", "clears first"])
def test_a_part_of_tensors_alone_is_loaded_with_them_in_place(take):
    fresh = Average(2, take)
    shadow = fresh.shadow
    restored({"average": Average(1)}, {"average": fresh})
    assert fresh.is_ready
    assert fresh.shadow is shadow


class Latents:
    """Keeps what it is given."""

    def __init__(self, number) -> None:
        self.z = torch.full((3,), float(number), requires_grad=True)

    def state_dict(self):
        return {"z": self.z}

    def load_state_dict(self, state):
        self.z = state["z"]


def test_a_part_that_keeps_what_it_is_given_keeps_the_tensors_that_an_optimizer_updates():
    fresh = Latents(2)
    before = fresh.z
    restored({"latents": Latents(1)}, {"latents": fresh})
    assert fresh.z is before


class Bare:
    """Its state is no mapping."""

    def __init__(self, held) -> None:
        self.held = held

    def state_dict(self):
        return self.held

    def load_state_dict(self, state):
        assert state is not None
        self.held = state


@pytest.mark.parametrize("make", [lambda n: torch.full((3,), n), lambda n: [n], lambda n: n, lambda n: None])
def test_a_part_whose_state_is_no_mapping_comes_back(make):
    restored({"it": Bare(make(1.0))}, {"it": Bare(make(2.0))})


class Counted:
    """Grows, and counts how often it was loaded."""

    def __init__(self, held) -> None:
        self.held, self.times = held, 0

    def state_dict(self):
        return {"held": self.held} if self.held else {}

    def load_state_dict(self, state):
        self.held, self.times = state["held"], self.times + 1


@pytest.mark.parametrize(
    ("held", "made", "times"),
    [([1.5, 2.5], [0.0], 1), ([1.5], [0.0], 1), ([1.5], [1.5], 1), ([], [], 0)],
    ids=["another form", "another value", "the same", "nothing"],
)
def test_a_part_is_loaded_once_where_it_has_a_state(held, made, times):
    fresh = Counted(made)
    restored({"it": Counted(held)}, {"it": fresh})
    assert (fresh.held, fresh.times) == (held, times)


class Derived(nn.Module):
    """Keeps what follows from its buffer."""

    def __init__(self, scale=1.0) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
        self.register_buffer("scale", torch.full((2,), scale))
        self.refresh()

    def refresh(self) -> None:
        self.inverse = 1 / self.scale


class ByHook(Derived):
    def __init__(self, scale=1.0) -> None:
        super().__init__(scale)
        self.register_load_state_dict_post_hook(lambda module, keys: module.refresh())


class ByHookBefore(Derived):
    """It reads the statistics of its rank, which no peer gives."""

    def __init__(self, scale=1.0) -> None:
        super().__init__(scale)
        self.register_load_state_dict_pre_hook(self._before)

    def _before(self, module, state, prefix, *_) -> None:
        assert torch.equal(state[f"{prefix}norm.running_mean"], self.norm.running_mean)
        self.inverse = 1 / state[f"{prefix}scale"]


class ByItsOwn(Derived):
    def _load_from_state_dict(self, *given) -> None:
        super()._load_from_state_dict(*given)
        self.refresh()


class ByExtra(Derived):
    def get_extra_state(self):
        return torch.zeros(1)

    def set_extra_state(self, state) -> None:
        self.refresh()


class NotStrict(Derived):
    """Its loading takes a state and nothing else, and no key that it does not know."""

    def load_state_dict(self, state) -> None:
        super().load_state_dict(state)
        self.refresh()


INSIDE = [ByHook, ByHookBefore, ByItsOwn, ByExtra]
"""Torch asks these wherever they are; for one's own `load_state_dict` at the top alone."""


@pytest.mark.parametrize(
    ("kind", "wrap"),
    [*((kind, nn.Sequential) for kind in INSIDE), *((kind, lambda it: it) for kind in (*INSIDE, NotStrict))],
)
def test_a_module_that_derives_something_where_it_is_loaded_derives_it_of_what_was_written(kind, wrap):
    fresh = kind(scale=2.0)
    fresh.norm.running_mean.fill_(7)
    weight = fresh.layer.weight
    restored({"model": wrap(kind(scale=4.0))}, {"model": wrap(fresh)})
    assert fresh.inverse.tolist() == [0.25, 0.25]
    assert fresh.norm.running_mean.tolist() == [7, 7]
    assert fresh.layer.weight is weight


def test_a_module_whose_loading_takes_no_strict_gets_its_plain_values_too():
    class Count(NotStrict):
        calls = 0

        def get_extra_state(self):
            return {"calls": self.calls}

        def set_extra_state(self, state) -> None:
            self.calls = state["calls"]

    kept, fresh = Count(), Count()
    kept.calls = 3
    restored({"model": kept}, {"model": fresh})
    assert fresh.calls == 3


def test_a_hook_that_changes_weights_where_they_are_loaded_has_no_say_in_what_they_are():
    def doubles(module, keys):
        with torch.no_grad():
            module.weight.mul_(2)

    fresh = nn.Linear(2, 2)
    fresh.register_load_state_dict_post_hook(doubles)
    restored({"model": nn.Linear(2, 2)}, {"model": fresh})


@pytest.mark.parametrize(
    "module",
    [nn.Linear(2, 2), nn.BatchNorm1d(2), nn.utils.spectral_norm(nn.Linear(2, 2)), nn.MultiheadAttention(2, 1)],
    ids=lambda module: type(module).__name__,
)
def test_a_module_of_torchs_own_is_written_and_no_more(module):
    assert not does_more_than_copy(nn.Sequential(module))


def updated(optimizer, updates):
    for _ in range(updates):
        for each in (held for group in optimizer.param_groups for held in group["params"]):
            each.grad = torch.rand(each.shape).to(each.dtype)
        optimizer.step()
    return optimizer


def sgd(rate=0.1, kind=torch.optim.SGD, dtype=torch.float32):
    return kind(nn.Linear(2, 2, dtype=dtype).parameters(), lr=rate, momentum=0.9)


def momentum_of(optimizer):
    return [each["momentum_buffer"] for each in optimizer.state_dict()["state"].values()]


@pytest.mark.parametrize("rate", [0.1, 0.2], ids=["the same rate", "another one"])
@pytest.mark.parametrize("updates", [0, 3])
def test_what_hangs_on_the_loading_of_an_optimizer_hears_of_it_once_all_is_there(rate, updates):
    kept, fresh, heard = updated(sgd(), 2), updated(sgd(rate), updates), []
    fresh.register_load_state_dict_post_hook(
        lambda each: heard.append((each.param_groups[0]["lr"], [held.clone() for held in momentum_of(each)]))
    )
    restored({"optimizer": kept}, {"optimizer": fresh})
    ((lr, momenta),) = heard
    assert lr == 0.1
    assert all(map(torch.equal, momenta, momentum_of(kept)))


def test_a_hook_that_changes_the_rate_of_an_optimizer_has_no_say_in_what_it_is():
    fresh = sgd(0.2)
    fresh.register_load_state_dict_post_hook(lambda each: each.param_groups[0].update(lr=5.0))
    restored({"optimizer": updated(sgd(), 2)}, {"optimizer": fresh})


class Wide(torch.optim.SGD):
    """Keeps its momentum wider than its weights."""

    def step(self, closure=None) -> None:
        for each in (held for group in self.param_groups for held in group["params"]):
            if each.grad is not None:
                held = self.state[each].setdefault("momentum_buffer", torch.zeros(each.shape))
                held.mul_(0.9).add_(each.grad)


class Counting(Wide):
    """And has a key of its own."""

    count = 0

    def step(self, closure=None) -> None:
        super().step()
        self.count += 1

    def state_dict(self):
        return {**super().state_dict(), "count": self.count}

    def load_state_dict(self, state) -> None:
        self.count = (own := dict(state)).pop("count")
        super().load_state_dict(own)


@pytest.mark.parametrize("updates", [0, 3])
def test_an_optimizer_of_wide_state_with_a_key_of_its_own_comes_back_and_whoever_hangs_on_it_sees_it_wide(updates):
    kept = updated(sgd(kind=Counting, dtype=torch.bfloat16), 2)
    fresh, heard = updated(sgd(0.2, Counting, torch.bfloat16), updates), []
    fresh.register_load_state_dict_post_hook(lambda each: heard.append(momentum_of(each)[0].dtype))
    restored({"optimizer": kept}, {"optimizer": fresh})
    assert fresh.count == 2
    assert heard[-1] == torch.float32


class Around(torch.optim.Optimizer):
    """Past torch's own making, around one or several."""

    def __init__(self, *inner) -> None:
        self.inner = list(inner)

    def state_dict(self):
        return (
            self.inner[0].state_dict() if len(self.inner) == 1 else {"all": [each.state_dict() for each in self.inner]}
        )

    def load_state_dict(self, state) -> None:
        for each, own in zip(self.inner, state.get("all", [state]), strict=True):
            each.load_state_dict(own)


class SetUp(Around):
    """Tells groups and state as its own."""

    param_groups = property(lambda self: self.inner[0].param_groups)
    state = property(lambda self: self.inner[0].state)

    def step(self) -> None:
        self.inner[0].step()


@pytest.mark.parametrize(
    "wrap", [Around, SetUp, lambda inner: Around(Around(inner)), lambda inner: Around(SetUp(inner))]
)
@pytest.mark.parametrize("rate", [0.1, 0.2], ids=["the same rate", "another one"])
@pytest.mark.parametrize("updates", [0, 3])
def test_one_around_an_optimizer_of_wide_state_comes_back(wrap, rate, updates):
    kept, fresh = (sgd(each, Wide, torch.bfloat16) for each in (0.1, rate))
    restored({"optimizer": wrap(updated(kept, 2))}, {"optimizer": wrap(updated(fresh, updates))})
    assert [each.dtype for each in momentum_of(fresh)] == [torch.float32] * 2


def test_the_hooks_of_an_optimizer_inside_of_another_hear_of_its_loading_and_of_no_update():
    fresh, heard = sgd(), []
    fresh.register_step_post_hook(lambda *_: heard.append("updated"))
    fresh.register_load_state_dict_post_hook(lambda _: heard.append("loaded"))
    restored({"optimizer": SetUp(updated(sgd(), 2))}, {"optimizer": SetUp(fresh)})
    assert heard == ["loaded"]


def test_one_around_several_optimizers_of_wide_state_is_refused_by_name():
    kept, fresh = (Around(*(sgd(kind=Wide, dtype=torch.bfloat16) for _ in range(2))) for _ in range(2))
    for each in kept.inner:
        updated(each, 2)
    with pytest.raises(SchemaDiffers, match=r"optimizer\.all\.0\.state\.0\.momentum_buffer: dtype is float32"):
        apply(declare({"optimizer": fresh}, {}), given(optimizer=kept))
