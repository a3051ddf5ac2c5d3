"""Nothing is copied while all is well; a survivor gives its last commit once somebody needs it, or nothing."""

import atexit
import dataclasses
import threading

import pytest
import torch
from torch import nn

import checkpointheal
from builders_trainer import FAR, SECONDS, Training
from checkpointheal import errors
from checkpointheal.contract.trainer import EpochOver, Restored, Wait
from checkpointheal.manifest import describe, write_out
from checkpointheal.trainer import on_demand
from checkpointheal.trainer.private_way import PrivateWay
from children import fork_for, wait

pytestmark = pytest.mark.usefixtures("world_of_one")


def met(step=None):
    return Restored(request=0, epoch=1, step=step, rung="own", slot=None, rendezvous=True, members=1)


@pytest.fixture
def job(attach, agent, monkeypatch):
    """A trainer whose later requests are answered with what it has given by then."""
    hear = agent._hear

    def answer(word):
        if isinstance(word, Wait) and word.request > 1:
            kept = agent.arena.seals()
            if kept:
                agent.names(*kept, epoch=word.request, rendezvous=True, members=1)
            else:
                agent.answer = met().model_copy(update={"epoch": word.request})
        hear(word)

    monkeypatch.setattr(agent, "_hear", answer)
    agent.answer = met()

    def begin(training):
        return attach(training, on_demand=True)

    return begin


def lost(heal, agent, epoch=1):
    agent.say(EpochOver(epoch=epoch, reason="TrainerGone", message="trainer-2", deadline=FAR))
    assert heal._membership.epoch._over.wait(SECONDS)


BESIDE = 3
"""Commits after which a state is known to lie as it lay: from then on all but a glance at it is beside the loop."""


def committed(job, commits=1, training=None):
    """A training after so many commits."""
    training = training or Training()
    heal = job(training)
    next(heal.epochs())
    for step in range(commits):
        training.step()
        heal.commit(step + 1)
    return training, heal


def steps_kept(agent):
    return sorted(seal.step for seal in agent.arena.seals().values())


def test_a_survivor_gives_its_last_commit_and_ends_bit_for_bit(job, agent):
    unbroken = Training()
    for _ in range(6):
        unbroken.step()
    expected = unbroken.fingerprint()
    training = Training()
    heal = job(training)
    starts, kept_while_well, weight = [], [], training.model[0].weight
    for epoch in heal.epochs():
        with epoch:
            starts.append((epoch.number, epoch.step))
            for step in range(epoch.step, 6):
                if step == 4 and epoch.number == 1:
                    training.model(torch.rand(4, 8)).sum().backward()
                    lost(heal, agent)
                    epoch.faults.note(RuntimeError("[gloo] Connection closed by peer"))
                training.step()
                heal.commit(step + 1)
                kept_while_well += steps_kept(agent)
    assert starts == [(1, 0), (2, 4)]
    assert kept_while_well == []
    assert training.fingerprint() == expected
    assert training.model[0].weight is weight


CALLS = {"bare": lambda step, closure: step(closure), "named": lambda step, closure: step(closure=closure)}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_peer_that_is_lost_in_the_closure_of_a_step_costs_no_update(job, agent, call):
    training, heal = committed(job)
    weight, epoch = training.model[0].weight.clone(), heal._membership.epoch

    def closure():
        loss = training.model(torch.rand(4, 8)).sum()
        loss.backward()
        lost(heal, agent)
        epoch.faults.note(RuntimeError("[gloo] Connection closed by peer"))
        return loss

    with pytest.raises(errors.EpochOver, match="closed by peer"):
        call(training.optimizer.step, closure)
    assert torch.equal(training.model[0].weight, weight)
    heal._keeping.publish()
    assert steps_kept(agent) == [1]


def test_an_update_behind_its_closure_ends_what_could_be_given(job, agent):
    training, heal = committed(job)
    assert training.optimizer.step(lambda: 3.0) == 3.0
    heal._keeping.publish()
    assert steps_kept(agent) == []


@pytest.fixture
def slow_hand(monkeypatch):
    """The agent is told of no private part until this is set."""
    let, tell = threading.Event(), PrivateWay.tell

    def slow(way, step, file):
        assert let.wait(SECONDS)
        tell(way, step, file)

    monkeypatch.setattr(PrivateWay, "tell", slow)
    return let


@pytest.mark.parametrize("commits", [1, BESIDE])
def test_what_is_not_the_optimizers_is_given_as_it_was_at_the_commit(job, attach, agent, slow_hand, commits):
    slow_hand.set()
    other = Training()
    training, heal = committed(job, commits)
    training.step()
    heal._keeping.settle()
    slow_hand.clear() if commits == BESIDE else None
    heal.commit(commits + 1)
    kept = training.fingerprint()
    with torch.no_grad():
        for each in training.average.parameters():
            each.add_(1)
    training.schedule.step()
    training.data.position += 1
    torch.rand(1)
    slow_hand.set()
    heal._keeping.publish()
    agent.names(agent.slot_of(step=commits + 1))
    assert attach(other).restore() == commits + 1
    assert other.fingerprint() == kept


def test_the_loop_goes_on_once_the_private_part_lies_where_it_outlives_it_and_the_next_update_waits_for_the_rest(
    job, agent, slow_hand
):
    slow_hand.set()
    training, heal = committed(job, BESIDE)
    training.step()
    slow_hand.clear()
    heal.commit(BESIDE + 1)
    assert BESIDE + 1 in agent.arena.private_steps()
    assert BESIDE + 1 not in [word.step for word in agent.heard_of("private_ready")]
    threading.Timer(0.1, slow_hand.set).start()
    training.step()
    assert agent.heard_of("private_ready")[-1].step == BESIDE + 1


def test_what_lies_elsewhere_than_before_is_looked_at_at_once_and_given(job, attach, agent):
    training, heal = committed(job, BESIDE)
    training.step()
    weight = training.average.module[0].weight
    weight.data = weight.data.clone()
    heal.commit(BESIDE + 1)
    kept, other = training.fingerprint(), Training()
    with torch.no_grad():
        weight.add_(1)
    heal._keeping.publish()
    agent.names(agent.slot_of(step=BESIDE + 1))
    assert attach(other).restore() == BESIDE + 1
    assert other.fingerprint() == kept


def test_what_an_optimizer_has_made_anew_is_not_given_once_and_said_so(job, agent):
    training, heal = committed(job, BESIDE)
    training.step()
    training.optimizer.load_state_dict(training.optimizer.state_dict())
    for each in training.optimizer.state.values():
        each["exp_avg"] = each["exp_avg"].clone()
    heal.commit(BESIDE + 1)
    heal._keeping.publish()
    assert steps_kept(agent) == []
    assert agent.wait_until_heard(lambda word: word.say == "unkept").reason == "MovedWhileHeld"
    training.step()
    heal.commit(BESIDE + 2)
    heal._keeping.publish()
    assert steps_kept(agent) == [BESIDE + 2]


def test_a_private_part_that_has_grown_too_large_is_said_once_and_training_goes_on(job, agent):
    training, heal = committed(job, BESIDE)
    training.data.state_dict = lambda: {"position": training.data.position, "more": "x" * (2 << 20)}
    for step in (BESIDE, BESIDE + 1):
        training.step()
        heal.commit(step + 1)
    training.step()
    assert agent.wait_until_heard(lambda word: word.say == "unkept").reason == "PrivateStateTooLarge"
    heal._keeping.publish()
    assert steps_kept(agent) == []


def test_once_an_update_has_begun_there_is_nothing_to_give_until_the_next_commit(job, agent):
    training, heal = committed(job)
    training.step()
    heal._keeping.publish()
    assert steps_kept(agent) == []
    heal.commit(2)
    heal._keeping.publish()
    assert steps_kept(agent) == [2]


def test_it_is_given_once(job, agent):
    _, heal = committed(job)
    heal._keeping.publish()
    agent.arena.discard(agent.slot_of(step=1))
    heal._keeping.publish()
    assert steps_kept(agent) == []


def test_what_was_given_goes_with_the_next_commit_for_it_would_take_the_job_back(job, agent):
    training, heal = committed(job)
    heal._keeping.publish()
    training.step()
    assert steps_kept(agent) == [1], "until then it is the best there is"
    heal.commit(2)
    assert steps_kept(agent) == []


def test_a_weight_that_was_written_since_the_commit_is_not_given(job, agent):
    training, heal = committed(job)
    with torch.no_grad():
        training.model[0].weight.add_(1)
    heal._keeping.publish()
    assert steps_kept(agent) == []
    told = agent.wait_until_heard(lambda word: word.say == "unkept")
    assert told.reason == "WrittenWhileCopied"
    assert "model.0.weight" in told.message


class Norm(Training):
    """Its forward writes a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Embedding(4, 2, max_norm=1.0), nn.Linear(2, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def parts(self):
        return {"model": self.model, "optimizer": self.optimizer}

    def step(self):
        self.optimizer.zero_grad()
        self.model(torch.arange(4)).sum().backward()
        self.optimizer.step()


def test_a_forward_that_writes_a_weight_after_each_commit_is_told_before_anything_is_lost(job, agent, caplog):
    committed(job, 6, Norm())
    told = [record.message for record in caplog.records if "model.0.weight" in record.message]
    assert len(told) == 1
    assert "no step can be given" in told[0]
    assert agent.wait_until_heard(lambda word: word.say == "unkept").reason == "WrittenWhileCopied"
    assert len(agent.heard_of("unkept")) == 1


def test_weights_that_are_swapped_for_an_average_now_and_then_are_not_told(job, agent):
    training, heal = committed(job)
    for step in range(1, 9):
        if step % 3:
            with torch.no_grad():
                training.model[0].weight.mul_(1)
        training.step()
        heal.commit(step + 1)
    assert agent.heard_of("unkept") == []


@pytest.mark.parametrize(("updates", "times"), [(1, 0), (2, 1)])
def test_several_updates_for_each_commit_are_told_once(job, caplog, updates, times):
    training, heal = committed(job)
    for step in range(1, 4):
        for _ in range(updates):
            training.step()
        heal.commit(step + 1)
    told = [record.message for record in caplog.records if "optimizer makes several updates" in record.message]
    assert len(told) == times


def test_an_update_that_is_made_again_in_the_next_epoch_is_not_one_of_several(job, agent, caplog):
    training, heal = committed(job)
    training.step()
    heal._keeping.publish()
    training.step()
    assert "several updates" not in caplog.text


def test_a_process_on_its_way_out_gives_its_last_commit(job, agent, monkeypatch):
    at_the_end = []
    monkeypatch.setattr(atexit, "register", lambda function, *_: at_the_end.append(function))
    committed(job)
    assert at_the_end
    for function in at_the_end:
        function()
    assert steps_kept(agent) == [1]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_that_leaves_gives_nothing_and_leaves_the_last_commit_to_its_trainer(job, agent, monkeypatch):
    """Such as a data loader's worker that ends by sys.exit: it has no lock, and its memory is a copy."""
    at_the_end = []
    monkeypatch.setattr(atexit, "register", lambda function, *_: at_the_end.append(function))
    training, heal = committed(job)

    def leave():
        for function in at_the_end:
            function()

    assert wait(fork_for(SECONDS, leave)) == 0
    assert steps_kept(agent) == []
    with torch.no_grad():
        training.data.position += 1
    heal._keeping.publish()
    assert steps_kept(agent) == [1]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_update_in_a_fork_asks_nobody_and_is_not_refused_by_the_epoch_s_end(job, agent):
    training, heal = committed(job)
    training.model(torch.rand(4, 8)).sum().backward()
    lost(heal, agent)
    heal._membership.epoch.faults.note(RuntimeError("[gloo] Connection closed by peer"))

    def update():
        training.optimizer.step()
        heal.may_step()

    assert wait(fork_for(SECONDS, update)) == 0
    heal._keeping.publish()
    assert steps_kept(agent) == [1]


def test_who_is_done_gives_nothing_any_more(job, agent):
    training = Training()
    heal = job(training)
    for epoch in heal.epochs():
        with epoch:
            training.step()
            heal.commit(1)
    heal._keeping.publish()
    assert steps_kept(agent) == []


def test_the_private_part_reaches_a_buddy_before_the_next_update(job, agent, monkeypatch):
    training, heal = committed(job)
    waited = []
    monkeypatch.setattr(heal._keeping._vault.private, "wait_for_buddy", waited.append)
    training.step()
    assert waited == [1]


def test_it_is_for_epochs_only(attach, agent):
    heal = attach(Training(), on_demand=True)
    heal.restore()
    with pytest.raises(errors.Misuse, match=r"on_demand=True\) is for heal.epochs"):
        heal.commit(1)


def test_it_needs_an_optimizer_and_no_second_way_to_copy():
    model = nn.Linear(2, 2)
    with pytest.raises(errors.Misuse, match=r"on_demand=True\) was given no torch.optim.Optimizer"):
        checkpointheal.attach(model=model, on_demand=True)
    with pytest.raises(errors.Misuse, match="background=True and on_demand=True"):
        checkpointheal.attach(model=model, background=True, on_demand=True)


class OnFullDevice(torch.Tensor):
    """Memory of a device that has no more of it."""

    is_cpu = False

    def clone(self):
        raise torch.OutOfMemoryError("CUDA out of memory")

    def cpu(self):
        return self.as_subclass(torch.Tensor).clone()


def test_what_does_not_rest_on_a_device_is_held_in_the_hosts_memory_and_given_with_what_rests_there():
    held_by = {"w": torch.arange(40.0), "average": torch.ones(5)}
    described = describe(held_by)
    expected = bytearray(described.schema.data_bytes)
    write_out(described, expected)
    there = dataclasses.replace(described, regions=[each.as_subclass(OnFullDevice) for each in described.regions])
    held = on_demand._Steady(there, [path == "w" for path in described.schema.tensors.paths], []).hold()
    held_by["average"].zero_()
    given = bytearray(described.schema.data_bytes)
    write_out(dataclasses.replace(described, regions=held.regions), given)
    assert given == expected
    assert [each.is_cpu for each in held.regions].count(False) == 1
