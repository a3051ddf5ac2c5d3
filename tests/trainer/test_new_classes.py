"""An object of a class that no newly made part knows is named at its commit, and costs nothing else at restore."""

from collections import deque
from typing import NamedTuple

import pytest
import torch

import builders_classes as classes
from builders_trainer import Training
from checkpointheal.errors import ClassDiffers, SlotDamaged, UnknownClass, UnsupportedLeaf


class Entry(NamedTuple):
    """What nobody has registered."""

    step: int
    loss: float


class Once:
    """Is taken apart, and cannot be put together."""


def once():
    return classes.registered(Once, take_apart=lambda _: 1, put_together=lambda _: {}["gone"])


class Log:
    """Empty when it is made."""

    def __init__(self, *entries) -> None:
        self.entries = list(entries)

    def state_dict(self):
        return {"entries": list(self.entries)}

    def load_state_dict(self, state) -> None:
        self.entries = list(state["entries"])


class Refusing(Log):
    """Takes no state."""

    def load_state_dict(self, state) -> None:
        raise AssertionError("only once")


def train(heal, training, log, last):
    for step in range(last):
        training.step()
        log.entries.append(Entry(step, 0.5))
        heal.commit(step + 1)


def said(caplog, *words):
    return [each.message for each in caplog.records if all(word in each.message for word in words)]


def test_a_class_that_no_part_held_at_restore_is_named_once_with_what_helps(attach, agent, caplog):
    training, log = Training(), Log()
    heal = attach(training, log=log)
    heal.restore()
    train(heal, training, log, 3)
    (told,) = said(caplog, "Entry")
    assert told.startswith("checkpointheal: log.entries.0 is a ")
    assert told.endswith("call checkpointheal.register_class(Entry) before restore()")
    assert agent.slot_of(step=3) is not None


def test_of_several_new_classes_each_is_named(attach, agent, caplog):
    log = Log()
    heal = attach(Training(), log=log)
    heal.restore()
    log.entries += [Entry(1, 0.5), {classes.Colour.RED: 1}, classes.a_wrapped(1.0), [torch.ones(1)] * 9]
    heal.commit(1)
    log.entries.append(classes.Pair(1, 2))
    heal.commit(2)
    named = [each.split(" is a ")[0].removeprefix("checkpointheal: ") for each in said(caplog, "register_class")]
    assert named == ["log.entries.0", "log.entries.1", "log.entries.2", "log.entries.4"]


def test_a_class_that_is_registered_or_was_there_from_the_start_or_is_pythons_own_is_not_named(attach, agent, caplog):
    log, own = Log(Entry(0, 0.0)), Log()
    with classes.registered(classes.Pair):
        heal = attach(training := Training(), log=log, private={"log": own})
        heal.restore()
        own.entries += [classes.Pair(1, 0.5), deque([1])]
        train(heal, training, log, 2)
        log.entries.append(classes.Pair(3, 0.5))
        heal.commit(3)
        assert not said(caplog, "register_class")
        agent.names(agent.slot_of(step=3))
        fresh, anew = Log(Entry(9, 9.0)), Log()
        assert attach(Training(), log=fresh, private={"log": anew}).restore() == 3
    assert (fresh.entries, anew.entries) == (log.entries, own.entries)


def test_a_state_that_cannot_be_told_before_it_trains_has_no_new_classes(attach, agent, caplog):
    class Shy(Log):
        def state_dict(self):
            return {"first": self.entries[0]}

    log = Shy()
    heal = attach(Training(), log=log)
    assert heal.restore() is None
    log.entries.append(Entry(1, 0.5))
    heal.commit(1)
    assert not said(caplog, "register_class")


def test_a_class_that_nobody_knows_in_a_private_part_is_named_at_commit_and_costs_that_part_alone(
    attach, agent, caplog
):
    training, log = Training(), Log()
    heal = attach(training, private={"log": log, "data": training.data})
    heal.restore()
    train(heal, training, log, 2)
    (told,) = said(caplog, "register_class(Entry) before restore()")
    assert told.startswith("checkpointheal: private part log.entries.0 is a ")
    stream, position = torch.get_rng_state(), training.data.position
    statistics = training.model[1].running_mean.clone()
    agent.names(agent.slot_of(step=2))
    fresh, new = Log(), Training()
    torch.rand(9)
    caplog.clear()
    assert attach(new, private={"log": fresh, "data": new.data}).restore() == 2
    assert (new.data.position, fresh.entries) == (position, [])
    assert torch.equal(torch.get_rng_state(), stream)
    assert torch.equal(new.model[1].running_mean, statistics)
    (told,) = said(caplog, "not identical")
    assert "private part log of step 2 cannot be put back (log.entries.0 is a " in told
    assert "missing" not in told


def test_a_class_of_a_private_part_that_a_restored_one_held_when_it_was_made_is_not_named(attach, agent, caplog):
    training, log = Training(), Log(Entry(0, 0.0))
    heal = attach(training, private={"log": log})
    heal.restore()
    train(heal, training, log, 1)
    agent.names(agent.slot_of(step=1))
    caplog.clear()
    heal = attach(new := Training(), private={"log": (fresh := Log(Entry(0, 0.0)))})
    assert heal.restore() == 1
    assert fresh.entries == log.entries
    new.step()
    heal.commit(2)
    assert not said(caplog, "register_class")


def test_a_private_part_that_cannot_be_made_of_its_parts_costs_that_part_alone(attach, agent, caplog):
    training = Training()
    with once():
        heal = attach(training, private={"log": Log(Once()), "data": training.data})
        heal.restore()
        training.step()
        heal.commit(1)
        agent.names(agent.slot_of(step=1))
        new, fresh = Training(), Log()
        assert attach(new, private={"log": fresh, "data": new.data}).restore() == 1
    assert (new.data.position, fresh.entries) == (1, [])
    assert said(
        caplog,
        "private part log of step 1 cannot be put back (log.entries.0 is a ",
        "which cannot be made here of what was offered",
        "not identical",
    )


def test_a_private_part_that_cannot_be_read_at_all_is_not_called_missing(attach, agent, caplog):
    heal = attach(Training())
    heal.restore()
    heal.commit(1)
    agent.arena.remove_private(agent.arena.private_steps())
    agent.arena.write_private(1, b"no frame of ours" * 4)
    agent.names(agent.slot_of(step=1))
    assert attach(Training()).restore() == 1
    (told,) = said(caplog, "not identical")
    assert "cannot be read: these bytes are no packed state" in told
    assert "missing" not in told


FAILURES = {
    "a class that nobody knows": (lambda: (Entry(1, 0.5), Log()), UnknownClass, "UnknownClass"),
    "a codec that does not know its own": (lambda: (Once(), Log()), ClassDiffers, "ClassDiffers"),
    "a part of the user's that raises": (lambda: (1, Refusing()), AssertionError, "AssertionError"),
}


@pytest.mark.parametrize(("make", "kind", "reason"), FAILURES.values(), ids=FAILURES)
def test_the_agent_hears_of_whatever_the_program_raises_in_a_restore(attach, agent, make, kind, reason):
    kept, fresh = make()
    with once():
        heal = attach(Training(), log=Log(kept))
        heal.restore()
        heal.commit(1)
        agent.names(agent.slot_of(step=1), rendezvous=True)
        with pytest.raises(kind):
            attach(Training(), log=fresh).restore()
    assert agent.wait_until_heard(lambda word: word.say == "unkept").reason == reason


def test_the_agent_is_not_told_of_what_is_not_the_programs(attach, agent):
    heal = attach(Training())
    heal.restore()
    heal.commit(1)
    agent.names(agent.slot_of(step=1), step=7, rendezvous=True)
    with pytest.raises(SlotDamaged, match="holds step 1, and 7 was named"):
        attach(Training()).restore()
    attach(Training())
    agent.wait_until_heard(lambda _: len(agent.heard_of("hello")) == 3)
    assert not agent.heard_of("unkept")


def test_a_leaf_that_cannot_cross_is_still_refused_at_the_first_commit_alone(attach, agent):
    heal = attach(Training(), log=Log(object()))
    assert heal.restore() is None
    with pytest.raises(UnsupportedLeaf, match=r"log\.entries\.0 is a object"):
        heal.commit(1)
