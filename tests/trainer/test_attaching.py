"""What a user gets wrong in attach() is one sentence that says what to write instead."""

import logging
import os

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, RandomSampler

import checkpointheal
from builders_trainer import Training
from checkpointheal.errors import Misuse
from checkpointheal.trainer.parts import declare

MODEL = nn.Linear(1, 1)
POINTS = [1.0, 2.0]
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


@pytest.mark.parametrize(
    "part",
    [
        DistributedSampler(POINTS, 1, 0),
        RandomSampler(POINTS),
        BatchSampler(RandomSampler(POINTS), 1, drop_last=False),
        DataLoader(POINTS),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_torch_draws_a_batch_with_is_told_with_what_knows_its_position(part):
    told = r'data is a \w+ without .* StatefulDataLoader, .*private=\{"data": Position\(loader\)\}, .*\.torchdata'
    with pytest.raises(Misuse, match=told):
        declare({"model": MODEL}, {"data": part})


@pytest.fixture
def sharded():
    """An optimizer of which each rank has its own part."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield ZeroRedundancyOptimizer(MODEL.parameters(), torch.optim.AdamW, lr=0.1)
    dist.destroy_process_group()


@pytest.mark.parametrize("where", ["replicated", "private"])
def test_an_optimizer_that_is_cut_over_the_ranks_is_refused_by_name(sharded, where):
    told = "optimizer is a ZeroRedundancyOptimizer: each rank has a shard of its own, which no peer .*fsdp2.md"
    parts = {"private": {"optimizer": sharded}} if where == "private" else {"optimizer": sharded}
    with pytest.raises(Misuse, match=told):
        checkpointheal.attach(model=MODEL, **parts)


class Counting(DistributedSampler):
    """Keeps how many it has given, as torchdata's own does."""

    def state_dict(self):
        return {"given": 0}

    def load_state_dict(self, state):
        pass


Torchdatas = type("StatefulDistributedSampler", (Counting,), {"__module__": "torchdata.stateful_dataloader.sampler"})
"""It is no library of ours: this one has its name."""


@pytest.mark.parametrize(
    ("kind", "told"),
    [(Torchdatas, 1), (type("Mine", (Torchdatas,), {}), 1), (Counting, 0)],
    ids=["torchdata's", "one of its kind", "one's own"],
)
def test_a_sampler_that_workers_read_ahead_is_told_once(monkeypatch, caplog, kind, told):
    monkeypatch.delenv("CHECKPOINTHEAL_ARENA", raising=False)
    checkpointheal.attach(model=MODEL, private={"data": kind(POINTS, 1, 0), "other": kind(POINTS, 1, 0)})
    warnings = [each.message for each in caplog.records if "num_workers=0" in each.message]
    assert len(warnings) == told
    assert all("data is a" in each and "Position(loader)" in each for each in warnings)


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
