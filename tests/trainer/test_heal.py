"""A trainer that comes back goes on as if it had never been away, and nothing in its arena can kill it."""

import atexit
import contextlib
import dataclasses
import errno
import itertools
import math
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

import builders_classes as classes
import checkpointheal
from builders_trainer import FAR, OPTIMIZERS, SCHEDULES, SECONDS, FakeAgent, Sampler, Training, warnings_of
from checkpointheal.arena import Arena, folder
from checkpointheal.arena import room as arena_room
from checkpointheal.contract.base import LONGEST
from checkpointheal.contract.trainer import EXIT_EPOCH_OVER, PRIVATE_AT_MOST, EpochOver, Refused, Restored, Waiting
from checkpointheal.ends import mixed
from checkpointheal.errors import (
    AlreadyAttached,
    Misuse,
    NotRestored,
    PrivateStateTooLarge,
    SchemaDiffers,
    SlotDamaged,
    TargetInvalid,
    UnsupportedLeaf,
)
from checkpointheal.manifest import describe
from checkpointheal.trainer import attended as room
from checkpointheal.trainer import generation, placing
from checkpointheal.trainer.attended import JOINING_GRACE

COMBINATIONS = list(itertools.product(OPTIMIZERS, SCHEDULES))


def train(heal, training, first, last):
    for step in range(first, last):
        training.step()
        heal.commit(step + 1)


def over(epoch):
    return EpochOver(epoch=epoch, reason="PodReplaced", message="trainer-2", deadline=FAR)


def wait_until_over(heal):
    assert heal._ending._over.wait(SECONDS)


def test_without_an_arena_every_call_is_a_cheap_no_op(monkeypatch, caplog):
    monkeypatch.delenv("CHECKPOINTHEAL_ARENA", raising=False)
    heal = checkpointheal.attach(**Training().parts())
    assert heal.restore() is None
    heal.declare_whole()
    heal.agree()
    assert [heal.commit(1), heal.commit(1), heal.commit(2)] == [True, False, True]
    heal.done()
    assert len(warnings_of(caplog)) == 1


def test_each_process_of_torchruns_is_a_life_of_its_own(attach, agent, monkeypatch):
    monkeypatch.setenv("CHECKPOINTHEAL_INCARNATION", "that-of-torchrun")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    attach(Training())
    assert agent.wait_until_heard(lambda word: word.say == "hello").incarnation != "that-of-torchrun"


def test_the_epoch_is_told_that_a_restore_began(attach, agent):
    heal = attach(Training())
    assert heal.epoch == 0
    heal.restore()
    assert heal.epoch == 1


def test_a_commit_before_restore_is_a_mistake_with_and_without_an_agent(attach, agent, monkeypatch):
    with pytest.raises(NotRestored, match=r"call restore\(\) once"):
        attach(Training()).commit(1)
    monkeypatch.delenv("CHECKPOINTHEAL_ARENA")
    with pytest.raises(NotRestored):
        checkpointheal.attach(**Training().parts()).commit(1)


def test_a_fresh_trainer_begins_at_nothing_and_seals_each_step(attach, agent):
    training = Training()
    heal = attach(training)
    assert heal.restore() is None
    train(heal, training, 0, 3)
    assert sorted(seal.step for seal in agent.arena.seals().values()) == [2, 3]
    assert {seal.epoch for seal in agent.arena.seals().values()} == {1}
    assert agent.wait_until_heard(lambda word: word.say == "sealed" and word.step == 3).pause > 0


@pytest.mark.parametrize(("optimizer", "schedule"), COMBINATIONS, ids=[" and ".join(each) for each in COMBINATIONS])
def test_what_comes_back_goes_on_bit_for_bit(attach, agent, optimizer, schedule):
    unbroken = Training(optimizer, schedule)
    for _ in range(6):
        unbroken.step()
    expected = unbroken.fingerprint()

    first = Training(optimizer, schedule)
    heal = attach(first)
    heal.restore()
    train(heal, first, 0, 4)

    second = Training(optimizer, schedule)
    torch.rand(7)
    agent.names(agent.slot_of(step=3))
    heal = attach(second)
    assert heal.restore() == 3
    assert agent.wait_until_heard(lambda word: word.say == "applied" and word.step == 3).digest == agent.digest_of(
        agent.slot_of(step=3)
    )
    train(heal, second, 3, 6)
    assert second.fingerprint() == expected


def test_weights_keep_their_addresses_and_their_ties(attach, agent):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 2)
    fresh = Training()
    addresses = [parameter.data_ptr() for parameter in fresh.model.parameters()]
    agent.names(agent.slot_of(step=2))
    attach(fresh).restore()
    assert [parameter.data_ptr() for parameter in fresh.model.parameters()] == addresses
    assert fresh.model[0].weight is fresh.model[3].weight


def test_restoring_into_another_model_names_what_differs_and_changes_nothing(attach, agent):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 1)
    agent.names(agent.slot_of(step=1), rendezvous=True)
    other = Training(width=6)
    before = other.model[0].weight.clone()
    with pytest.raises(SchemaDiffers, match=r"average\.module\.0\.weight: shape is \(8, 8\), here \(6, 6\)"):
        attach(other).restore()
    assert torch.equal(other.model[0].weight, before)
    told = agent.wait_until_heard(lambda word: word.say == "unkept")
    assert (told.reason, "average.module.0.weight" in told.message) == ("SchemaDiffers", True)


@pytest.mark.parametrize(("members", "left_out", "told"), [(2, 0, True), (3, 0, False), (2, 1, False), (0, 0, False)])
def test_a_rank_that_others_have_left_for_good_is_told(attach, agent, caplog, monkeypatch, members, left_out, told):
    monkeypatch.setenv("WORLD_SIZE", "3")
    agent.answer = agent.answer.model_copy(update={"members": members, "left_out": left_out})
    attach(Training()).restore()
    assert any("2 of 3 members are left" in each for each in warnings_of(caplog)) == told


def test_a_slot_that_holds_another_step_or_another_state_than_was_named_is_refused(attach, agent):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 1)
    slot = agent.slot_of(step=1)
    agent.names(slot, step=7)
    with pytest.raises(SlotDamaged, match="holds step 1, and 7 was named"):
        attach(Training()).restore()
    agent.names(slot, state_digest="0" * 32)
    with pytest.raises(SlotDamaged, match="0" * 32):
        attach(Training()).restore()


@pytest.mark.parametrize("damage", [None, b"", b"CKHP" + b"\0" * 40])
def test_a_private_part_that_is_missing_or_damaged_is_said_and_never_another_rank_s(attach, agent, caplog, damage):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 1)
    agent.arena.remove_private(agent.arena.private_steps())
    if damage is not None:
        agent.arena.write_private(1, damage)
    agent.names(agent.slot_of(step=1))
    fresh = Training()
    assert attach(fresh).restore() == 1
    assert fresh.data.position == 0
    assert torch.equal(fresh.model[0].weight, training.model[0].weight)
    assert "restored but not identical" in caplog.text


def test_a_private_part_with_objects_comes_back_as_the_live_parts_own_classes(attach, agent):
    class Marked(Sampler):
        mark = classes.Pair(classes.Colour.BLUE, 0)

        def state_dict(self):
            return {"position": self.position, "mark": self.mark}

        def load_state_dict(self, state):
            self.position, self.mark = state["position"], state["mark"]

    training, marked = Training(), Marked()
    heal = attach(training, private={"data": marked})
    heal.restore()
    marked.mark = classes.Pair(classes.Colour.RED, 7)
    train(heal, training, 0, 1)
    agent.names(agent.slot_of(step=1))
    fresh = Marked()
    assert attach(Training(), private={"data": fresh}).restore() == 1
    assert fresh.mark == classes.Pair(classes.Colour.RED, 7)
    assert isinstance(fresh.mark, classes.Pair)


def test_a_new_rank_takes_the_shared_state_and_begins_its_own_without_complaint(attach, agent, caplog):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 1)
    agent.names(agent.slot_of(step=1), private_begins=True)
    torch.manual_seed(77)
    fresh = Training()
    before = torch.get_rng_state()
    assert attach(fresh).restore() == 1
    assert fresh.data.position == 0
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(fresh.model[0].weight, training.model[0].weight)
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


def test_an_earlier_private_part_stands_in_and_that_is_said(attach, agent, caplog):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 1)
    first = training.fingerprint()
    train(heal, training, 1, 2)
    second = training.fingerprint()
    agent.names(agent.slot_of(step=2), private_step=1)
    fresh = Training()
    heal = attach(fresh)
    assert (heal.restore(), heal.private_step) == (2, 1)
    norms = [name for name in training.model.state_dict() if "running" in name or "batches" in name]
    assert norms
    assert fresh.fingerprint()[1:] == [second[1], *first[2:]], "the scaler is shared, data and streams are its own"
    assert torch.equal(fresh.model[0].weight, training.model[0].weight)
    (told,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert "private part of step 2 is nowhere, and that of step 1 stands in for it" in told.getMessage()
    assert "restored but not identical" in told.getMessage()


def test_a_restore_that_lacks_nothing_is_behind_nothing(attach, agent):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 1)
    agent.names(agent.slot_of(step=1))
    again = attach(Training())
    assert (again.restore(), again.private_step) == (1, None)


@pytest.mark.parametrize("bound", [True, False])
def test_whoever_has_a_private_part_that_counts_steps_says_that_it_cannot_be_behind(attach, agent, bound):
    class Counter(Sampler):
        bound_to_step = bound

    attach(Training(), private={"data": Sampler(), "counter": Counter()}).restore()
    assert agent.wait_until_heard(lambda word: word.say == "hello").behind is not bound


@pytest.mark.parametrize(
    ("private", "sentence"),
    [
        ({}, "has the private part 'data', which attach"),
        ({"data": Sampler(), "more": Sampler()}, "was given the private part 'more', which the kept state"),
    ],
)
def test_private_parts_that_were_declared_otherwise_are_named(attach, agent, private, sentence):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 1)
    agent.names(agent.slot_of(step=1))
    with pytest.raises(Misuse, match=sentence):
        attach(Training(), private=private).restore()


@pytest.mark.parametrize("given", ["1", None, 1.0, 1.5, True, -1, 1 << 54, torch.tensor(1.0)], ids=repr)
def test_what_is_no_step_is_refused_before_anything_is_kept_under_it(attach, agent, given):
    heal = attach(training := Training())
    heal.restore()
    with pytest.raises(Misuse, match="a step is the number of completed updates"):
        heal.commit(given)
    assert agent.arena.seals() == {}
    train(heal, training, 0, 1)
    assert [seal.step for seal in agent.arena.seals().values()] == [1]


@pytest.mark.parametrize("given", [np.int64(1), torch.tensor(1)], ids=repr)
def test_any_whole_number_is_a_step(attach, agent, given):
    heal = attach(Training())
    heal.restore()
    assert heal.commit(given)
    assert [seal.step for seal in agent.arena.seals().values()] == [1]


def test_a_loop_that_begins_before_what_was_restored_is_told_so_once(attach, agent, caplog):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 3)
    for step in (1, 2, 3):
        heal.commit(step)
    (told,) = [each for each in warnings_of(caplog) if "lies behind" in each]
    assert "commit(1) lies behind step 3, whose state this is: updates are made twice" in told


def test_a_step_that_the_job_had_reached_is_kept_again_but_is_not_new(attach, agent):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 2)
    agent.names(agent.slot_of(step=2), highest=4)
    again = attach(Training())
    assert again.restore() == 2
    assert [again.commit(step) for step in (3, 4, 5, 5)] == [False, False, True, False]
    assert sorted(seal.step for seal in agent.arena.seals().values()) == [4, 5]


def test_a_restore_that_nobody_answers_is_withdrawn(attach, agent):
    agent.answer = None
    heal = attach(Training())
    assert heal.restore(budget=0.05) is None
    asked = agent.wait_until_heard(lambda word: word.say == "wait")
    assert agent.wait_until_heard(lambda word: word.say == "withdraw").request == asked.request
    agent.say(Restored(request=asked.request, epoch=9, step=None, rung="fresh", slot=None))
    assert heal.commit(1)
    assert {seal.epoch for seal in agent.arena.seals().values()} == {0}


@pytest.mark.parametrize("budget", [-1, math.nan, -math.inf, "soon", [240]], ids=repr)
def test_what_is_no_budget_is_refused_before_the_agent_is_asked(attach, agent, monkeypatch, budget):
    with pytest.raises(Misuse, match=r"restore\(\) was given budget=.*: a budget is a number of seconds"):
        attach(Training()).restore(budget=budget)
    assert agent.heard_of("wait") == []
    monkeypatch.delenv("CHECKPOINTHEAL_ARENA")
    with pytest.raises(Misuse, match="a budget is a number of seconds"):
        checkpointheal.attach(**Training().parts()).restore(budget=budget)


@pytest.mark.parametrize("budget", [math.inf, 1e12], ids=repr)
def test_a_budget_without_an_end_is_the_longest_that_there_is(attach, agent, budget):
    assert attach(Training()).restore(budget=budget) is None
    assert agent.heard_of("wait")[0].budget == LONGEST


def test_a_restore_that_waits_for_a_policy_says_why_once_and_takes_the_answer_that_comes_at_last(attach, agent, caplog):
    agent.answer = None
    heal = attach(Training())
    with ThreadPoolExecutor(1) as pool:
        restoring = pool.submit(heal.restore, 60)
        asked = agent.wait_until_heard(lambda word: word.say == "wait")
        for _ in range(2):
            agent.say(Waiting(request=asked.request, reason="NoPolicy", message="no CheckpointHeal selects this pod"))
        agent.say(Restored(request=asked.request, epoch=1, step=None, rung="fresh", slot=None))
        assert restoring.result() is None
    told = [each.getMessage() for each in caplog.records if "NoPolicy" in each.getMessage()]
    assert told == ["checkpointheal: restore() waits, NoPolicy: no CheckpointHeal selects this pod"]
    agent.wait_until_heard(lambda word: word.say == "applied")
    assert agent.heard_of("withdraw") == []


def test_a_restore_that_is_held_outlives_its_budget_and_takes_the_answer_that_comes_at_last(attach, agent, caplog):
    agent.answer = None
    heal = attach(Training())
    with ThreadPoolExecutor(1) as pool:
        restoring = pool.submit(heal.restore, 3.0)
        asked = agent.wait_until_heard(lambda word: word.say == "wait")
        agent.say(Waiting(request=asked.request, reason="Held", message="no arena survived", hold=True))
        said = agent.wait_until_heard(lambda word: word.say == "wait" and word.held)
        assert said.request == asked.request
        with pytest.raises(TimeoutError):
            restoring.result(timeout=4.0)
        assert agent.heard_of("withdraw") == []
        agent.say(Restored(request=asked.request, epoch=1, step=None, rung="fresh", slot=None))
        assert restoring.result() is None
    agent.wait_until_heard(lambda word: word.say == "applied")
    assert "restore() waits, Held: no arena survived" in caplog.text


def test_a_restore_that_is_released_has_its_budget_from_then_on(attach, agent):
    agent.answer = None
    heal = attach(Training())
    with ThreadPoolExecutor(1) as pool:
        restoring = pool.submit(heal.restore, 3.0)
        asked = agent.wait_until_heard(lambda word: word.say == "wait")
        agent.say(Waiting(request=asked.request, reason="Hold", message="", hold=True))
        agent.wait_until_heard(lambda word: word.say == "wait" and word.held)
        agent.say(Waiting(request=asked.request, reason="Released", message="it is not held any more"))
        assert restoring.result() is None
    withdrawn = agent.wait_until_heard(lambda word: word.say == "withdraw")
    assert withdrawn.request == asked.request
    assert [word.held for word in agent.heard_of("wait")] == [False, True, False]


def test_a_word_about_another_call_neither_holds_nor_releases(attach, agent):
    agent.answer = None
    heal = attach(Training())
    with ThreadPoolExecutor(1) as pool:
        restoring = pool.submit(heal.restore, 0.2)
        asked = agent.wait_until_heard(lambda word: word.say == "wait")
        agent.say(Waiting(request=asked.request + 1, reason="Hold", message="", hold=True))
        assert restoring.result() is None
    agent.wait_until_heard(lambda word: word.say == "withdraw")


def test_that_a_restore_waits_as_its_policy_says_is_no_warning(attach, agent, caplog):
    caplog.set_level("INFO", "checkpointheal")
    agent.answer = None
    heal = attach(Training())
    with ThreadPoolExecutor(1) as pool:
        restoring = pool.submit(heal.restore, 60)
        asked = agent.wait_until_heard(lambda word: word.say == "wait")
        agent.say(Waiting(request=asked.request, reason="Hold", message="fallback is Hold", hold=True))
        agent.say(Restored(request=asked.request, epoch=1, step=None, rung="fresh", slot=None))
        assert restoring.result() is None
    (told,) = [each for each in caplog.records if "fallback is Hold" in each.getMessage()]
    assert told.levelname == "INFO"


def test_a_second_attach_in_the_same_process_is_refused(attach, agent):
    attach(Training())
    with pytest.raises(AlreadyAttached, match="call attach\\(\\) once"):
        checkpointheal.attach(**Training().parts())


def test_an_attach_beside_another_process_is_refused_before_the_agent_hears_of_it(attach, agent):
    with agent.arena.hold_trainer_lock(), pytest.raises(AlreadyAttached, match="another trainer is attached"):
        attach(Training())
    assert agent.heard == []


@pytest.mark.parametrize("options", [{}, {"background": True}, {"on_demand": True}], ids=str)
def test_an_attach_that_was_refused_leaves_nothing_behind_and_may_be_tried_again(attach, agent, options):
    training, left = Training(), (sys.excepthook, atexit._ncallbacks())
    with agent.arena.hold_trainer_lock(), pytest.raises(AlreadyAttached, match="another trainer is attached"):
        attach(training, **options)
    assert (sys.excepthook, atexit._ncallbacks()) == left
    assert not training.optimizer._optimizer_step_pre_hooks
    heal = checkpointheal.attach(**training.parts(), **options)
    assert heal.restore() is None
    heal.done()
    heal._line.end()


def test_a_trainer_may_come_before_its_agent(attach, tmp_path):
    training = Training()
    heal = attach(training)
    agent = FakeAgent(tmp_path)
    assert heal.restore() is None
    train(heal, training, 0, 1)
    assert agent.slot_of(step=1) == 0
    agent.vanish()


def test_an_agent_that_refuses_the_arena_is_quoted_once_and_training_goes_on(attach, agent, caplog):
    agent.refusal = Refused(reason="ArenaDoesNotFit", message="needs 5 more bytes")
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 3)
    assert [each for each in warnings_of(caplog) if "ArenaDoesNotFit: needs 5 more bytes" in each]
    assert len(warnings_of(caplog)) == 1
    assert agent.arena.seals() == {}


def test_an_agent_that_answers_late_is_waited_for_once(attach, agent, monkeypatch, caplog):
    training = Training()
    heal = attach(training)
    heal.restore()
    heal._keeping._vault.placing._room._budget = 0.0
    agent.silent = True
    train(heal, training, 0, 3)
    asked = agent.wait_until_heard(lambda word: word.say == "reserve")
    assert agent.heard_of("reserve") == [asked]
    assert agent.arena.seals() == {}
    agent.silent = False
    agent._hear(asked)
    heal._line.wait_for("reserve", lambda _: True, SECONDS)
    train(heal, training, 3, 4)
    assert agent.slot_of(step=4) == 0


def test_room_is_asked_for_private_parts_too_and_again_when_they_have_grown(attach, agent):
    training = Training()
    heal = attach(training)
    heal.restore()
    for step, size in enumerate((0, 10_000, 200_000, 0), start=1):
        training.data.position = "x" * size
        heal.commit(step)
    small, large = (word.part_bytes for word in agent.heard_of("reserve"))
    assert 1 << 17 == small < 200_000 < large < 350_000


def test_a_private_part_that_outgrows_the_arena_is_refused_until_it_is_smaller_again(
    attach, agent, monkeypatch, caplog
):
    monkeypatch.setattr(arena_room, "medium_left", lambda _folder: 5 << 20)
    training = Training()
    heal = attach(training, private_limit=16 << 20)
    heal.restore()
    for step, size in enumerate((0, 2 << 20, 3 << 20, 0), start=1):
        training.data.position = "x" * size
        heal.commit(step)
    assert sorted(seal.step for seal in agent.arena.seals().values()) == [1, 4]
    assert [each for each in warnings_of(caplog) if "ArenaDoesNotFit" in each and "beside them" in each]
    assert len(warnings_of(caplog)) == 1


def test_an_arena_without_room_for_a_file_is_told_to_the_agent_with_the_size_that_would_do(attach, agent, monkeypatch):
    training = Training()
    heal = attach(training)
    heal.restore()
    heal.commit(1)

    def is_full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(folder, "_write_whole", is_full)
        heal.commit(2)
    heal.commit(3)
    agent.wait_until_heard(lambda word: word.say == "sealed" and word.step == 3)
    (told,) = agent.heard_of("unkept")
    assert (told.reason, told.arena_bytes > 4 << 20) == ("ArenaDoesNotFit", True)


def test_a_skipped_generation_is_said_once_and_the_next_free_slot_is_used(attach, agent, caplog):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 2)
    with agent.arena.read(0), agent.arena.read(1):
        train(heal, training, 2, 4)
    assert sorted(seal.step for seal in agent.arena.seals().values()) == [1, 2]
    assert [each.partition(":")[2] for each in warnings_of(caplog)] == [
        " step 3 was not kept: every slot is being read"
    ]
    train(heal, training, 4, 5)
    assert sorted(seal.step for seal in agent.arena.seals().values()) == [2, 5]


@pytest.mark.parametrize("protocol", [1, 2], ids=["an older agent", "an agent that knows the word"])
def test_a_step_that_is_not_kept_is_told_to_an_agent_that_understands_it(attach, agent, protocol):
    agent.protocol = protocol
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 2)
    with agent.arena.read(0), agent.arena.read(1):
        train(heal, training, 2, 4)
    train(heal, training, 4, 5)
    agent.wait_until_heard(lambda word: word.say == "sealed" and word.step == 5)
    told = [(word.reason, word.message) for word in agent.heard_of("unkept")]
    skipped = ("GenerationSkipped", "step 3 was not kept: every slot is being read")
    assert told == ([skipped] if protocol == 2 else [])
    assert "unkept" not in heal._line._said_again, "an agent that comes back is not told of what is over"


def test_whatever_fails_in_the_arena_is_said_and_training_goes_on(attach, agent, caplog):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 1)
    for slot in (0, 1):
        (agent.directory / f"slot-{slot}.safetensors").unlink()
    train(heal, training, 1, 3)
    (agent.directory / "slot-0.safetensors").mkdir()
    (agent.directory / "private-4.bin").mkdir()
    train(heal, training, 3, 4)
    assert len([each for each in warnings_of(caplog) if "not protected" in each]) >= 1


def test_private_state_over_its_limit_is_refused_at_the_first_commit(attach, agent):
    heal = attach(Training(), private_limit=100)
    heal.restore()
    with pytest.raises(PrivateStateTooLarge, match="over the limit of 100"):
        heal.commit(1)


def test_a_limit_that_no_agent_keeps_is_refused_before_anything_is_lost(attach, agent):
    with pytest.raises(Misuse, match="more than 16777216 bytes for another"):
        attach(Training(), private_limit=PRIVATE_AT_MOST + 1)


def test_private_state_that_grows_over_its_limit_later_is_said_and_kills_nobody(attach, agent, caplog):
    training = Training()
    heal = attach(training, private_limit=20_000)
    heal.restore()
    train(heal, training, 0, 1)
    training.data.position = "x" * 20_000
    assert heal.commit(2)
    assert [each for each in warnings_of(caplog) if "over the limit of 20000" in each]


def test_a_leaf_that_cannot_cross_is_named_at_the_first_commit(attach, agent):
    class Odd(Sampler):
        def state_dict(self):
            return {"inner": [1, object()]}

    heal = attach(Training(), odd=Odd())
    heal.restore()
    with pytest.raises(UnsupportedLeaf, match=r"odd\.inner\.1 is a object"):
        heal.commit(1)


def test_a_private_part_that_becomes_a_number_in_a_later_step_is_kept(attach, agent, caplog):
    class Count(Sampler):
        def state_dict(self):
            return self.position if self.position == 2 else {"position": self.position}

        def load_state_dict(self, state):
            self.position = state

    training = Training()
    training.data = Count()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 2)
    assert not warnings_of(caplog)
    agent.names(agent.slot_of(step=2))
    training.data = Count()
    assert attach(training).restore() == 2
    assert training.data.position == 2


def test_a_private_leaf_that_cannot_cross_is_named_as_one(attach, agent):
    class Odd(Sampler):
        def state_dict(self):
            return {"seen": object()}

    training = Training()
    training.data = Odd()
    heal = attach(training)
    heal.restore()
    with pytest.raises(UnsupportedLeaf, match=r"^private part data\.seen is a object, which cannot cross"):
        heal.commit(1)


def test_text_that_cannot_cross_in_a_later_step_is_said_once_and_training_goes_on(attach, agent, caplog):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 1)
    training.data.position = "a\udcff"
    assert heal.commit(2)
    assert heal.commit(3)
    training.data.position = 3
    train(heal, training, 3, 4)
    assert (
        len([each for each in warnings_of(caplog) if "not protected: private part data.position is a text" in each])
        == 1
    )
    assert agent.slot_of(step=4) is not None


def test_no_commit_keeps_what_a_broken_receive_left_half_filled(attach, agent):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 1)
    broken = mixed.mark([training.model[0].weight.detach().view(-1).view(torch.uint8)], "the donor is gone")
    with pytest.raises(TargetInvalid, match="the donor is gone"):
        heal.commit(2)
    mixed.forget(broken)
    assert heal.commit(3)


def test_a_step_whose_commit_raised_is_kept_once_it_is_committed_again(attach, agent):
    training = Training()
    heal = attach(training)
    heal.restore()
    broken = mixed.mark([training.model[0].weight.detach().view(-1).view(torch.uint8)], "the donor is gone")
    with pytest.raises(TargetInvalid):
        heal.commit(1)
    mixed.forget(broken)
    assert heal.commit(1), "it is new still"
    assert [seal.step for seal in agent.arena.seals().values()] == [1]


def test_a_state_that_grows_gets_larger_slots(attach, agent):
    class Growing(Sampler):
        rows = torch.zeros(10)

        def state_dict(self):
            return {"rows": self.rows}

    growing = Growing()
    heal = attach(Training(), growing=growing)
    heal.restore()
    heal.commit(1)
    growing.rows = torch.zeros(100_000)
    heal.commit(2)
    assert agent.arena.seals()[agent.slot_of(step=2)].data_bytes > 400_000


def test_an_agent_that_dies_leaves_training_and_keeping_as_they_are(attach, agent, caplog):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 1)
    agent.vanish()
    train(heal, training, 1, 3)
    assert sorted(seal.step for seal in agent.arena.seals().values()) == [2, 3]
    agent.listen()
    hello = agent.wait_until_heard(lambda word: word.say == "hello" and word.epoch == 1)
    agent.wait_until_heard(lambda word: word.say == "sealed" and word.step == 3)
    assert hello.incarnation == agent.heard[0].incarnation
    assert hello.build == agent.heard[0].build
    assert hello.build.startswith(f"torch {torch.__version__}, ")
    assert torch.backends.cpu.get_cpu_capability() in hello.build.split(", ")
    assert len([each for each in warnings_of(caplog) if "the agent is gone" in each]) == 1


def test_once_the_epoch_is_over_a_commit_keeps_its_step_and_ends_the_process(attach, agent):
    training = Training()
    heal = attach(training)
    heal.restore()
    train(heal, training, 0, 1)
    agent.say(over(epoch=1))
    wait_until_over(heal)
    with pytest.raises(SystemExit) as end:
        train(heal, training, 1, 2)
    assert end.value.code == EXIT_EPOCH_OVER
    assert agent.slot_of(step=2) == 1


def test_the_end_of_an_epoch_of_long_ago_is_not_this_one_s(attach, agent):
    training = Training()
    agent.answer = Restored(request=0, epoch=5, step=None, rung="fresh", slot=None)
    heal = attach(training)
    agent.wait_until_heard(lambda word: word.say == "hello")
    agent.say(over(epoch=4))
    heal.restore()
    train(heal, training, 0, 1)
    assert not heal._ending.is_over


@pytest.mark.parametrize("joined", ["by agreeing", "by its first step", "not at all"])
def test_who_has_not_trained_in_its_epoch_gets_only_a_moment_to_end(attach, agent, monkeypatch, joined):
    training, told = Training(), []
    heal = attach(training)
    monkeypatch.setattr(heal._ending, "begin", told.append)
    heal.restore()
    if joined == "by agreeing":
        heal.agree()
    if joined == "by its first step":
        train(heal, training, 0, 1)
    agent.say(over(epoch=1))
    assert heal._line.wait_for("epoch_over", lambda _: True, SECONDS)
    assert [each.deadline for each in told] == [JOINING_GRACE if joined == "not at all" else over(epoch=1).deadline]


def test_an_epoch_that_ends_while_its_answer_is_on_the_way_is_over(attach, agent, monkeypatch):
    monkeypatch.setattr(room, "JOINING_GRACE", 600.0)
    agent.answer = Restored(request=0, epoch=5, step=None, rung="fresh", slot=None)
    heal = attach(Training())
    agent.wait_until_heard(lambda word: word.say == "hello")
    agent.say(over(epoch=5))
    assert heal._line.wait_for("epoch_over", lambda _: True, SECONDS)
    assert not heal._ending.is_over
    heal.restore()
    assert heal._ending.is_over


def test_a_trainer_that_is_done_does_not_end_with_the_epoch(attach, agent):
    heal = attach(Training())
    heal.restore()
    heal.done()
    agent.wait_until_heard(lambda word: word.say == "done")
    agent.say(over(epoch=1))
    assert heal._line.wait_for("epoch_over", lambda _: True, SECONDS)
    assert not heal._ending.is_over


def test_moments_that_were_widened_stay_wide(attach, agent):
    class Wide(Training):
        def __init__(self, widened):
            super().__init__()
            self.model = nn.Linear(4, 4, dtype=torch.bfloat16)
            self.optimizer = torch.optim.AdamW(self.model.parameters())
            if widened:
                self.model(torch.ones(1, 4, dtype=torch.bfloat16)).sum().backward()
                self.optimizer.step()
                for state in self.optimizer.state.values():
                    state.update({k: v.float() for k, v in state.items()})

        def parts(self):
            return {"model": self.model, "optimizer": self.optimizer}

    kept = Wide(widened=True)
    heal = attach(kept)
    heal.restore()
    heal.commit(1)
    agent.names(agent.slot_of(step=1))
    fresh = Wide(widened=False)
    assert attach(fresh).restore() == 1
    moment = fresh.optimizer.state[fresh.model.weight]["exp_avg"]
    assert moment.dtype == torch.float32
    assert torch.equal(moment, kept.optimizer.state[kept.model.weight]["exp_avg"])


def test_the_slots_are_those_that_the_state_needs(attach, agent):
    training = Training()
    heal = attach(training)
    heal.restore()
    heal.commit(1)
    with agent.arena.read(agent.slot_of(step=1)) as reading:
        needed = Arena.slot_bytes(reading.schema)
    assert [word.slot_bytes for word in agent.heard_of("reserve")] == [needed]


@pytest.mark.parametrize("layers", [1, 2, 50])
@pytest.mark.parametrize("prefix", ["", "transformer.layers.encoder.block.self_attention.output.dense."])
def test_a_slot_takes_no_more_than_the_page_on_operations_says(layers, prefix):
    state = {f"{prefix}{number}.weight": torch.zeros(257) for number in range(layers)}
    schema = describe(
        {"model": state, "optimizer": {"state": {name: {"exp_avg": state[name]} for name in state}}}
    ).schema
    tensors = len(list(schema.each_tensor))
    assert Arena.slot_bytes(schema) <= schema.data_bytes + 512 * tensors + (8 << 10)


class OnDevice:
    """A region of a device's memory, as far as keeping looks at it: no device is needed to say where it lies."""

    def __init__(self, region) -> None:
        self._region = region
        self.is_cpu = False

    def __getattr__(self, name):
        return getattr(self._region, name)


@pytest.mark.parametrize("ended", [False, True])
def test_a_device_s_state_is_sealed_only_while_no_collective_was_aborted(attach, agent, monkeypatch, ended):
    def copy_all(live, data, chosen=None):
        for region, memory in zip(live.schema.each_region, live.regions, strict=True):
            data[region.offset : region.offset + region.nbytes] = memory.numpy().tobytes()

    def describe_on_device(state, previous=None):
        described = describe(state)
        return dataclasses.replace(described, regions=tuple(map(OnDevice, described.regions)))

    monkeypatch.setattr(placing, "describe", describe_on_device)
    monkeypatch.setattr(generation, "write_out", copy_all)
    heal = attach(Training())
    heal.restore()
    if ended:
        agent.say(over(epoch=1))
        wait_until_over(heal)
    with pytest.raises(SystemExit) if ended else contextlib.nullcontext():
        heal.commit(1)
    assert bool(agent.arena.seals()) is not ended
