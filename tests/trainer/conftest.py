"""A trainer attached to an agent of this very process, and an honest end to both."""

import sys

import pytest
import torch.distributed as dist

import checkpointheal
from builders_trainer import FakeAgent
from checkpointheal.trainer import attaching, private_way, restoring
from checkpointheal.trainer import attended as door
from checkpointheal.trainer import epoch as epoch_room
from checkpointheal.trainer import groups as group_room


@pytest.fixture
def attach(tmp_path, monkeypatch):
    """`attach(training)` as a process that has just started; each call is the next life of the trainer."""
    monkeypatch.setenv("CHECKPOINTHEAL_ARENA", str(tmp_path))
    monkeypatch.setenv("CHECKPOINTHEAL_JOB", "job")
    monkeypatch.setenv("CHECKPOINTHEAL_MEMBER", "1/0")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(attaching, "_attached", set())
    monkeypatch.setattr(door, "LOCK_PATIENCE", 0.0)
    monkeypatch.setattr(restoring, "LOCK_PATIENCE", 0.0)
    lives = []

    def end():
        for heal in lives:
            heal.done()
            heal._line.end()
        lives.clear()
        attaching._attached.clear()

    def begin(training, **options):
        end()
        lives.append(checkpointheal.attach(**{**training.parts(), **options}))
        return lives[-1]

    yield begin
    end()


@pytest.fixture
def agent(tmp_path):
    agent = FakeAgent(tmp_path)
    yield agent
    agent.vanish()


@pytest.fixture
def impatient(monkeypatch):
    """Buddies and agents are given no time: for tests in which they do not answer."""
    monkeypatch.setattr(private_way, "GRACE", 0.0)


@pytest.fixture
def world_of_one(monkeypatch):
    """Each test makes its groups anew; there is no other rank."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setattr(group_room, "_groups", None)
    monkeypatch.setattr(epoch_room, "CAUSE_GRACE", 0.0)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.fixture
def stable_group(world_of_one, monkeypatch):
    """What `heal.process_group()` gives."""
    monkeypatch.setenv("CHECKPOINTHEAL_ARENA", "/nowhere")
    return group_room.process_group()
