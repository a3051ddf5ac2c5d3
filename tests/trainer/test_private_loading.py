"""A private part of torch's own kind comes back bit for bit, or is named; any other is loaded, and not asked."""

import pytest
import torch
from torch import nn
from torch.ao.quantization.observer import MinMaxObserver

from builders_trainer import Training, state_digest
from checkpointheal.manifest import describe


class Wide(torch.optim.SGD):
    """Keeps its momentum wider than its weights, a count in whole numbers, and more in a list."""

    def step(self, closure=None) -> None:
        for each in (held for group in self.param_groups for held in group["params"]):
            if each.grad is not None:
                if not self.state[each]:
                    self.state[each].update(
                        m=torch.zeros(each.shape), n=torch.zeros(each.shape).int(), l=[torch.ones(1)]
                    )
                held = self.state[each]
                held["m"].mul_(0.9).add_(each.grad)
                held["n"].add_(1)
                held["l"][0].div_(3)


class Around(torch.optim.Optimizer):
    def __init__(self, inner) -> None:
        self.inner = inner

    def state_dict(self):
        return self.inner.state_dict()

    def load_state_dict(self, state) -> None:
        self.inner.load_state_dict(state)


class Meeting(Wide):
    """Its update is a collective: one rank alone must make none."""

    is_alone = False

    def step(self, closure=None) -> None:
        assert not self.is_alone
        super().step()


OPTIMIZERS = {
    "wide": Wide,
    "wide, inside of another": lambda *given, **options: Around(Wide(*given, **options)),
    "wide, whose update is a collective": Meeting,
    **{name: getattr(torch.optim, name) for name in ("AdamW", "NAdam", "ASGD", "RAdam", "Adagrad", "Adafactor")},
}


class Own(Training):
    """Of each rank its own optimizer of bf16 weights, or another part of its own."""

    def __init__(self, make) -> None:
        super().__init__()
        self.own = make()

    def parts(self):
        return {**super().parts(), "private": {"own": self.own}}


def an_optimizer(make, rate, updates):
    parameters = list(nn.Linear(3, 2, dtype=torch.bfloat16).parameters())
    optimizer = make(parameters, lr=rate)
    for _ in range(updates):
        for each in parameters:
            each.grad = torch.rand(each.shape).bfloat16()
        getattr(optimizer, "inner", optimizer).step()
    return optimizer


def come_back(attach, agent, kept, fresh) -> None:
    """What the second one holds afterwards is what the first one held at the commit of the step 1."""
    heal = attach(training := Own(lambda: kept))
    heal.restore()
    training.step()
    heal.commit(1)
    agent.names(agent.slot_of(step=1))
    assert attach(Own(lambda: fresh)).restore() == 1


def digest_of(part):
    return state_digest(describe({"it": part.state_dict()}))


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("updates", [0, 5])
def test_a_private_optimizer_comes_back_bit_for_bit(attach, agent, caplog, make, updates):
    kept, fresh = an_optimizer(make, 0.1, 3), an_optimizer(make, 0.2, updates)
    fresh.is_alone = True
    come_back(attach, agent, kept, fresh)
    assert digest_of(fresh) == digest_of(kept)
    assert "not identical" not in caplog.text


def test_hooks_of_a_private_optimizer_s_loading_run(attach, agent):
    fresh, heard = an_optimizer(torch.optim.AdamW, 0.2, 0), []
    fresh.register_load_state_dict_post_hook(lambda each: heard.append(each.param_groups[0]["lr"]))
    come_back(attach, agent, an_optimizer(torch.optim.AdamW, 0.1, 3), fresh)
    assert heard == [0.1]


def test_a_private_module_of_a_version_is_told_that_its_state_is_of_that_one(attach, agent, caplog):
    fresh = MinMaxObserver(eps=0.25)  # of version 3; without one it takes its eps for one that is to be made
    come_back(attach, agent, MinMaxObserver(eps=0.5), fresh)
    assert fresh.eps.tolist() == [0.5]
    assert "not identical" not in caplog.text


class Rounding(nn.Linear):
    def load_state_dict(self, state, *options, **more):
        return super().load_state_dict({key: each.round() for key, each in state.items()}, *options, **more)


def test_a_private_module_that_loads_another_value_is_named_and_training_goes_on(attach, agent, caplog):
    come_back(attach, agent, nn.Linear(2, 2), Rounding(2, 2))
    assert (
        "private part own does not hold what it held at step 1: weight and 1 more was loaded as another" in caplog.text
    )


def test_a_private_module_that_takes_another_form_by_its_loading_is_named(attach, agent, caplog):
    fresh = nn.Linear(2, 2)
    fresh.register_load_state_dict_post_hook(lambda module, _: module.register_buffer("more", torch.ones(1)))
    come_back(attach, agent, nn.Linear(2, 2), fresh)
    assert "private part own does not hold what it held at step 1: more was loaded as another value" in caplog.text


class Loader:
    """Its state is that of a pass, which it begins where it is asked for it."""

    def __init__(self) -> None:
        self.at, self.passes = 0, 0

    def state_dict(self):
        self.passes += 1
        return {"at": self.at, "passes": self.passes}

    def load_state_dict(self, state) -> None:
        self.at, self.passes = state["at"], 0


def test_a_loader_that_was_just_loaded_is_not_asked_for_its_state(attach, agent, caplog):
    come_back(attach, agent, Loader(), fresh := Loader())
    assert fresh.passes == 0
    assert "not identical" not in caplog.text


def test_what_torchs_own_cannot_take_exactly_is_named(attach, agent, caplog):
    """Around several, nobody can tell which state is whose."""

    class Both(Around):
        def state_dict(self):
            return {"all": [each.state_dict() for each in self.inner]}

        def load_state_dict(self, state) -> None:
            for each, own in zip(self.inner, state["all"], strict=True):
                each.load_state_dict(own)

    kept, fresh = (Both([an_optimizer(Wide, 0.1, updates) for _ in range(2)]) for updates in (2, 0))
    come_back(attach, agent, kept, fresh)
    assert "private part own does not hold what it held at step 1: all.0.state.0." in caplog.text
