"""Loss and gradient norm reach the agent with their step, and nothing that a loop says of them can hurt it."""

import numpy as np
import pytest
import torch

import checkpointheal
from builders_trainer import Training
from checkpointheal.contract.signals import Signals
from checkpointheal.contract.trainer import TRAINER_SAYS, Sealed
from checkpointheal.trainer.signals import Told


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"loss": None}, None, id="none"),
        pytest.param({"loss": 2.5}, Signals(loss=2.5), id="a number"),
        pytest.param({"loss": 2, "grad_norm": np.float32(0.5)}, Signals(loss=2, grad_norm=0.5), id="other numbers"),
        pytest.param({"loss": torch.tensor(2.5, requires_grad=True)}, Signals(loss=2.5), id="a tensor"),
        pytest.param({"grad_norm": torch.tensor([[0.5]])}, Signals(grad_norm=0.5), id="a tensor of one"),
        pytest.param({"loss": float("nan")}, Signals(not_finite=("loss",)), id="not a number"),
        pytest.param(
            {"loss": 1.0, "grad_norm": torch.tensor(float("-inf"))},
            Signals(loss=1.0, not_finite=("grad_norm",)),
            id="infinite",
        ),
    ],
)
def test_what_is_said_is_read(said: dict[str, object], heard: Signals | None) -> None:
    told = Told(**said)
    assert (told.odd, told.read()) == ((), heard)


class Whole(torch.Tensor):
    """As a DTensor looks from outside."""

    device_mesh = None

    def to_local(self) -> torch.Tensor:
        raise AssertionError("to make it whole is a collective")


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(torch.ones(2), id="two numbers"),
        pytest.param(torch.tensor(1j), id="a complex one"),
        pytest.param("1.0", id="a word"),
        pytest.param(torch.tensor(1.0).as_subclass(Whole), id="a part of one"),
    ],
)
def test_what_is_not_one_number_is_left_out(odd: object) -> None:
    told = Told(loss=odd, grad_norm=1.0)
    assert (told.odd, told.read()) == (("loss",), Signals(grad_norm=1.0))


def test_a_number_is_that_of_its_commit_though_the_loop_goes_on_writing_it():
    loss = torch.tensor(1.0)
    told = Told(loss=loss)
    loss += 1
    assert told.read() == Signals(loss=1.0)


def test_a_tensor_on_a_device_is_not_read_before_the_state_was_copied():
    """The meta device stands in for one that is busy: a read of its numbers is an error."""
    told = Told(loss=torch.ones((), device="meta"))
    with pytest.raises(RuntimeError, match="meta"):
        told.read()


def test_no_number_that_json_does_not_know_crosses():
    said = Sealed(slot=0, step=1, pause=0, signals=Told(loss=float("nan")).read())
    assert TRAINER_SAYS.validate_json(said.model_dump_json()) == said


@pytest.mark.parametrize("background", [False, True])
def test_the_agent_hears_them_with_their_step(attach, agent, background, caplog):
    training = Training()
    heal = attach(training, background=background)
    heal.restore()
    training.step()
    heal.commit(1, loss=torch.tensor(0.25), grad_norm=torch.ones(3))
    training.step()
    heal.commit(2, grad_norm=torch.ones(3))
    heal.done()
    first, second = (agent.wait_until_heard(lambda word, s=s: word.say == "sealed" and word.step == s) for s in (1, 2))
    assert (first.signals, second.signals) == (Signals(loss=0.25), None)
    assert len([each for each in caplog.records if "grad_norm is not compared" in each.message]) == 1


def test_without_an_agent_they_are_nobodys_business(monkeypatch):
    monkeypatch.delenv("CHECKPOINTHEAL_ARENA", raising=False)
    heal = checkpointheal.attach(**Training().parts())
    heal.restore()
    assert heal.commit(1, loss=object())
