"""What a user gets wrong in attach() is one sentence that says what to write instead."""

import logging
import os

import pytest
import torch
from torch import nn

import checkpointheal
from builders_trainer import Training
from checkpointheal.errors import Misuse
from checkpointheal.trainer.parts import declare

MODEL = nn.Linear(1, 1)
MISTAKES = {
    "the class": ({"model": nn.Linear}, r"model is the class Linear: give an object of it"),
    "a list": (
        {"models": [MODEL, MODEL]},
        r"models is a list .*: name each of them, or make modules one nn\.ModuleList",
    ),
    "nothing": ({"optimizer": None}, r"optimizer is None: leave it out"),
    "a generator": ({"g": torch.Generator()}, r"g is a Generator .*: wrap it .* get_state\(\) and set_state\(\)"),
    "a state dict": ({"model": MODEL.state_dict()}, r"model is a OrderedDict .*: give the object itself"),
    "no name": ({"": MODEL}, r"a part has no name"),
    "a name in another's": ({"a": MODEL, "a.b": MODEL}, r"'a' and 'a\.b' .* the same name: call one of them otherwise"),
}


@pytest.mark.parametrize(("parts", "told"), MISTAKES.values(), ids=MISTAKES)
def test_what_cannot_be_a_part_is_told_with_what_can(parts, told):
    with pytest.raises(Misuse, match=told):
        declare({"model": MODEL, **parts}, {})


def test_parts_without_their_names_are_told_how_to_be_named():
    with pytest.raises(Misuse, match=r"by name, as in attach\(model=model, optimizer=optimizer\)"):
        checkpointheal.attach(MODEL)


class Wrapped:
    """Somebody's own object around a schedule."""

    def __init__(self, *schedules) -> None:
        self.schedules = schedules
        self.first = schedules[0]

    def state_dict(self):
        return self.first.state_dict()

    def load_state_dict(self, state):
        self.first.load_state_dict(state)


@pytest.mark.parametrize(
    ("named", "is_told"),
    [(lambda s: {}, True), (lambda s: {"schedule": s}, False), (lambda s: {"mine": Wrapped(s)}, False)],
    ids=["forgotten", "named", "in an object"],
)
def test_a_schedule_that_was_forgotten_is_told(monkeypatch, caplog, named, is_told):
    monkeypatch.delenv("CHECKPOINTHEAL_ARENA", raising=False)
    optimizer = torch.optim.SGD(MODEL.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    checkpointheal.attach(model=MODEL, optimizer=optimizer, **named(schedule))
    assert any("optimizer has a schedule of its learning rate" in each.message for each in caplog.records) == is_told


def test_a_fork_of_the_trainer_keeps_nothing_and_says_so(attach, agent, tmp_path):
    heal = attach(Training())
    heal.restore()
    heal.commit(1)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        logging.getLogger("checkpointheal").addHandler(logging.StreamHandler(os.fdopen(writing, "w")))
        try:
            heal.commit(2)
            heal.commit(3)
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as said:
        told = said.read()
    assert told.count("this process is a fork of the trainer") == 1
    assert "not protected" not in told
    assert [seal.step for seal in agent.arena.seals().values()] == [1]
    heal.commit(2)
    assert agent.slot_of(step=2) is not None


def test_another_process_s_commit_counts_its_steps_and_reaches_for_nothing(attach, agent, caplog):
    heal = attach(Training())
    heal.restore()
    heal.commit(1)
    heal._odd._pid += 1
    assert [heal.commit(2), heal.commit(2)] == [True, False]
    assert [seal.step for seal in agent.arena.seals().values()] == [1]
    assert len([each for each in caplog.records if "this process is a fork" in each.message]) == 1
