"""A survivor goes back to its own last commit in its own process, and goes on as if it had never been interrupted."""

import contextlib
import os
import weakref

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import checkpointheal
from builders_trainer import FAR, SECONDS, Training
from checkpointheal import errors
from checkpointheal.contract.trainer import EXIT_EPOCH_OVER, EpochOver, LeaveEpoch, Restored
from checkpointheal.trainer import devices
from checkpointheal.trainer.stable_group import StableGroup
from checkpointheal.trainer.work import Finished, Lenient

pytestmark = pytest.mark.usefixtures("world_of_one")


def met(epoch=1, step=None, **changes):
    return Restored(request=0, epoch=epoch, step=step, rung="own", slot=None, rendezvous=True, members=1, **changes)


def over(heal, agent, epoch):
    agent.say(EpochOver(epoch=epoch, reason="TrainerGone", message="trainer-2", deadline=FAR))
    assert heal._membership.epoch._over.wait(SECONDS)


def trained(training, steps):
    for _ in range(steps):
        training.step()
    return training.fingerprint()


def test_a_survivor_goes_back_to_its_last_commit_and_ends_bit_for_bit(attach, agent):
    expected = trained(Training(), 6)
    training = Training()
    agent.answer = met()
    heal = attach(training)
    starts, weight = [], training.model[0].weight
    for epoch in heal.epochs():
        with epoch:
            starts.append((epoch.number, epoch.step))
            for step in range(epoch.step, 6):
                training.step()
                if step == 4 and epoch.number == 1:
                    agent.names(agent.slot_of(step=4), rendezvous=True, members=1)
                    over(heal, agent, epoch=1)
                    raise RuntimeError("what garbage leads to")
                heal.commit(step + 1)
    assert starts == [(1, 0), (2, 4)]
    assert training.fingerprint() == expected
    assert training.model[0].weight is weight
    agent.wait_until_heard(lambda word: word.say == "done")


def test_an_update_that_is_refused_inside_of_a_scalers_step_leaves_nothing_behind(attach, agent):
    expected = trained(Training(), 3)
    training = Training()
    agent.answer = met()
    heal = attach(training)
    for epoch in heal.epochs():
        with epoch:
            for step in range(epoch.step, 3):
                if step == 1 and epoch.number == 1:
                    agent.names(agent.slot_of(step=1), rendezvous=True, members=1)
                    over(heal, agent, epoch=1)
                    epoch.faults.note(RuntimeError("[gloo] Connection closed by peer"))
                training.step()
                heal.commit(step + 1)
    assert training.fingerprint() == expected


def test_a_survivor_that_was_evaluating_trains_on_as_it_trained(attach, agent):
    expected = trained(Training(), 3)
    training = Training()
    agent.answer = met()
    heal = attach(training)
    for epoch in heal.epochs():
        with epoch:
            for step in range(epoch.step, 3):
                training.step()
                heal.commit(step + 1)
                if step == 1 and epoch.number == 1:
                    agent.names(agent.slot_of(step=2), rendezvous=True, members=1)
                    training.model.eval()
                    over(heal, agent, epoch=1)
                    raise RuntimeError("what garbage leads to")
    assert training.fingerprint() == expected


def test_gradients_of_a_step_that_was_not_finished_are_dropped(attach, agent):
    training = Training()
    agent.answer = met()
    heal = attach(training)
    for epoch in heal.epochs():
        with epoch:
            if epoch.number == 2:
                assert all(parameter.grad is None for parameter in training.model.parameters())
                break
            training.step()
            heal.commit(1)
            agent.names(agent.slot_of(step=1), rendezvous=True, members=1)
            training.model(torch.rand(4, 8)).sum().backward()
            over(heal, agent, epoch=1)
            heal.commit(2)


def test_a_commit_after_the_end_keeps_what_was_whole_and_leaves(attach, agent):
    training = Training()
    agent.answer = met()
    heal = attach(training)
    next(heal.epochs())
    training.step()
    over(heal, agent, epoch=1)
    with pytest.raises(errors.EpochOver, match="epoch 1 is over"):
        heal.commit(1)
    assert [seal.step for seal in agent.arena.seals().values()] == [1]


def test_nothing_is_updated_or_kept_of_a_lost_collective(attach, agent):
    training = Training()
    agent.answer = met()
    heal = attach(training)
    for epoch in heal.epochs():
        before = training.model[0].weight.clone()
        epoch.faults.note(RuntimeError("[gloo] Connection closed by peer"))
        for attempt in (heal.may_step, training.optimizer.step, lambda: heal.commit(1)):
            with pytest.raises(errors.EpochOver, match="closed by peer"):
                attempt()
        assert torch.equal(training.model[0].weight, before)
        break
    assert agent.arena.seals() == {}


class Device:
    """One that runs behind the program. `behind`: what comes to pass meanwhile; `is_recorded`: for a graph."""

    def __init__(self):
        self.behind, self.is_recorded, self.waited = lambda: None, False, 0

    def wait_for(self, tensors):
        assert all(isinstance(each, nn.Parameter) for each in tensors)
        assert not self.is_recorded
        self.waited += 1
        self.behind()


@pytest.fixture
def device(monkeypatch):
    here = Device()
    monkeypatch.setattr(devices, "are_in_use", lambda: True)
    monkeypatch.setattr(devices, "are_recorded", lambda: here.is_recorded)
    monkeypatch.setattr(devices, "wait_for", here.wait_for)
    return here


@pytest.mark.parametrize("how", ["heal.may_step()", "optimizer.step()"])
def test_an_update_that_a_device_would_make_of_an_aborted_collective_is_refused(attach, agent, device, how):
    training = Training()
    agent.answer = met()
    heal = attach(training)
    epoch = next(heal.epochs())
    epoch.faults.is_queued = True
    device.behind = lambda: over(heal, agent, epoch=1)
    before = training.model[0].weight.clone()
    training.model(torch.rand(4, 8)).sum().backward()
    with pytest.raises(errors.EpochOver, match="went on behind an aborted collective"):
        heal.may_step() if how == "heal.may_step()" else training.optimizer.step()
    assert torch.equal(training.model[0].weight, before)
    assert device.waited == 1


def test_an_update_behind_a_communicator_that_failed_by_itself_is_refused(attach, agent, device, monkeypatch):
    training = Training()
    agent.answer = met()
    heal = attach(training)
    epoch = next(heal.epochs())
    epoch.word_within = 0.0
    training.step()
    heal.commit(1)
    monkeypatch.setattr(heal._membership._groups, "is_broken", lambda: True)
    before = training.model[0].weight.clone()
    with pytest.raises(errors.EpochOver, match="communicator of NCCL has failed"), epoch:
        training.step()
    assert torch.equal(training.model[0].weight, before)


def test_a_survivor_whose_device_ran_on_gives_its_last_commit_on_demand(attach, agent, device):
    training = Training()
    agent.answer = met()
    heal = attach(training, on_demand=True)
    epoch = next(heal.epochs())
    for step in range(2):
        training.step()
        heal.commit(step + 1)
    device.behind = lambda: over(heal, agent, epoch=1)
    with epoch:
        training.step()
    heal._membership.leave(epoch)
    heal._keeping.publish()
    assert [seal.step for seal in agent.arena.seals().values()] == [2]


def test_a_commit_is_kept_where_the_word_came_after_its_update_was_let_through(attach, agent, device):
    training = Training()
    agent.answer = met()
    heal = attach(training)
    epoch = next(heal.epochs())
    epoch.faults.is_queued = True
    training.step()
    device.behind = lambda: over(heal, agent, epoch=1)
    with pytest.raises(errors.EpochOver, match="epoch 1 is over"):
        heal.commit(1)
    assert [seal.step for seal in agent.arena.seals().values()] == [1]


@pytest.mark.parametrize("why", ["a collective after the update", "an update of a graph"])
def test_a_commit_of_what_an_aborted_collective_may_have_written_is_not_kept(attach, agent, device, why):
    training = Training()
    agent.answer = met()
    heal = attach(training)
    epoch = next(heal.epochs())
    device.is_recorded = why == "an update of a graph"
    training.step()
    device.is_recorded = False
    epoch.faults.is_queued = why == "a collective after the update"
    device.behind = lambda: over(heal, agent, epoch=1)
    with pytest.raises(errors.EpochOver, match="went on behind"):
        heal.commit(1)
    assert agent.arena.seals() == {}


def test_an_update_of_no_optimizer_ends_what_could_be_given_on_demand(attach, agent):
    training = Training()
    agent.answer = met()
    heal = attach(training, on_demand=True)
    next(heal.epochs())
    training.step()
    heal.commit(1)
    heal.may_step()
    heal._keeping.publish()
    assert agent.arena.seals() == {}


def test_the_users_own_error_ends_the_training_unchanged(attach, agent):
    agent.answer = met()
    mistake = ValueError("labels")

    def train():
        for epoch in attach(Training()).epochs():
            with epoch:
                raise mistake

    with pytest.raises(ValueError, match="labels") as raised:
        train()
    assert raised.value is mistake


def test_where_no_memory_has_a_state_the_checkpoint_is_loaded(attach, agent):
    agent.answer = met()
    asked = []
    for epoch in attach(Training()).epochs(begin=lambda: asked.append("checkpoint") or 40):
        with epoch:
            assert epoch.step == 40
    assert asked == ["checkpoint"]


@pytest.mark.parametrize("commits", [True, False], ids=["what it kept is nowhere", "it kept nothing yet"])
def test_a_survivor_with_neither_memory_nor_checkpoint_is_started_afresh(attach, agent, commits):
    training = Training()
    agent.answer = met()
    heal = attach(training)

    def train():
        for epoch in heal.epochs():
            with epoch:
                training.step()
                if commits:
                    heal.commit(1)
                agent.answer = met(epoch=2)
                over(heal, agent, epoch=1)
                raise RuntimeError("what garbage leads to")

    with pytest.raises(SystemExit) as left:
        train()
    assert left.value.code == EXIT_EPOCH_OVER


def test_a_member_whose_others_are_done_has_nobody_to_speak_with(attach, agent, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    agent.answer = met()
    for epoch in attach(Training()).epochs():
        with epoch, pytest.raises(errors.PeersDone, match="1 of 3"):
            dist.all_reduce(torch.ones(1))
    assert epoch.is_last


def short(monkeypatch, agent, **changes):
    """An epoch of rank 2 alone, of three."""
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    agent.answer = met(left_out=2, place=0, **changes)


def test_an_epoch_is_as_large_as_those_who_are_in_it(attach, agent, monkeypatch):
    short(monkeypatch, agent)
    heal = attach(Training())
    assert heal.world == 1
    group = heal.process_group()
    others, own = dist.new_group([0, 1]), dist.new_group([1, 2])
    for epoch in heal.epochs():
        with epoch:
            assert (epoch.members, epoch.left_out, heal.world) == (1, (0, 1), 1)
            assert (dist.get_world_size(), dist.get_rank()) == (1, 0)
            assert (dist.get_world_size(own), dist.get_rank(own), dist.get_process_group_ranks(own)) == (1, 0, [0])
            assert dist.ProcessGroup.size(group) == 1
            dist.all_reduce(ones := torch.ones(2))
            assert ones.tolist() == [1, 1]
            with pytest.raises(errors.Misuse, match="make it before heal"):
                dist.new_group([0])
            break
    assert others == dist.GroupMember.NON_GROUP_MEMBER
    heal._membership.leave(epoch)
    assert (dist.get_world_size(), dist.get_rank(), own.size()) == (3, 2, 2)


def test_a_ddp_divides_by_how_many_are_in_the_epoch(attach, agent, monkeypatch):
    short(monkeypatch, agent)
    model = nn.Linear(1, 1, bias=False)
    heal = attach(Plain(model, torch.optim.SGD(model.parameters())))
    wrapped = DistributedDataParallel(model, process_group=heal.process_group(), find_unused_parameters=True)
    epoch = next(heal.epochs())
    wrapped(torch.full((1, 1), 6.0)).sum().backward()
    assert model.weight.grad.item() == 6
    assert epoch.faults.noted is None


def test_a_trainer_says_that_it_can_go_on_with_fewer_only_where_it_survives(attach, agent):
    agent.answer = met()
    attach(Training()).restore()
    assert not agent.wait_until_heard(lambda word: word.say == "wait").goes_on
    next(attach(Training()).epochs())
    agent.wait_until_heard(lambda word: word.say == "wait" and word.goes_on)


def test_once_somebody_is_back_all_leave_after_a_commit_and_lose_nothing(attach, agent, monkeypatch, capfd):
    expected = trained(Training(), 6)
    training = Training()
    short(monkeypatch, agent)
    heal = attach(training)
    seen = []
    for epoch in heal.epochs():
        with epoch:
            for step in range(epoch.step, 6):
                training.step()
                if step == 3 and epoch.number == 1:
                    agent.say(LeaveEpoch(epoch=1, reason="MemberReturns", message="1/0 is back"))
                    heal._line.wait_for("leave_epoch", lambda _: True, SECONDS)
                seen.append((epoch.number, step + 1, heal.commit(step + 1)))
                if step == 3 and epoch.number == 1:
                    agent.names(agent.slot_of(step=4), rendezvous=True, members=1, left_out=2, place=0)
    assert seen == [(1 if step < 5 else 2, step, True) for step in range(1, 7)]
    assert training.fingerprint() == expected
    assert "epoch 1 is left for a member that is back" in capfd.readouterr().err


def test_a_word_to_leave_another_epoch_ends_none(attach, agent, monkeypatch):
    short(monkeypatch, agent, epoch=4)
    training = Training()
    heal = attach(training)
    for epoch in heal.epochs():
        with epoch:
            agent.say(LeaveEpoch(epoch=3, reason="MemberReturns", message="1/0 is back"))
            heal._line.wait_for("leave_epoch", lambda _: True, SECONDS)
            for step in range(2):
                training.step()
                heal.commit(step + 1)
    assert epoch.number == 4


def test_an_agent_without_a_rendezvous_is_too_old(attach, agent):
    agent.answer = met().model_copy(update={"rendezvous": False})
    with pytest.raises(errors.AgentGone, match="update its image"):
        next(attach(Training()).epochs())


@pytest.mark.parametrize("options", [{}, {"static_graph": True}], ids=["usual", "static"])
def test_a_ddp_that_rebuilds_its_buckets_is_refused_by_name(attach, agent, options):
    agent.answer = met()
    training = Training()
    heal = attach(training)
    wrapped = DistributedDataParallel(training.model, process_group=heal.process_group(), **options)
    with pytest.raises(errors.BucketsRebuilt, match=r"around Sequential .* pass find_unused_parameters=True"):
        next(heal.epochs())
    assert wrapped.module is training.model


def test_a_ddp_is_wrapped_before_anybody_is_met_and_trains(attach, agent):
    agent.answer = met()
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters())
    heal = attach(Plain(model, optimizer))
    wrapped = DistributedDataParallel(model, process_group=heal.process_group(), find_unused_parameters=True)
    assert agent.met == {}
    for epoch in heal.epochs():
        with epoch:
            wrapped(torch.ones(1, 4)).sum().backward()
            optimizer.step()
            heal.commit(1)
    assert agent.met


class Plain:
    def __init__(self, model, optimizer):
        self._parts = {"model": model, "optimizer": optimizer}

    def parts(self):
        return self._parts


def test_a_group_that_is_asked_for_among_the_epochs_is_refused_and_behind_them_filled_at_once(attach, agent):
    def refused():
        with pytest.raises(errors.Misuse, match=r"make it before heal\.epochs\(\)"):
            dist.new_group([0])
        return 0

    agent.answer = met()
    for epoch in attach(Training()).epochs(begin=refused):
        refused()
        with epoch:
            refused()
    dist.all_reduce(torch.ones(2), group=dist.new_group([0]))
    assert epoch.faults.noted is None


@pytest.mark.parametrize("backend", ["gloo", "cpu:gloo", *(["cpu:gloo,cuda:nccl"] if dist.is_nccl_available() else [])])
def test_a_group_of_a_named_backend_is_made_without_asking_anybody_as_any_other(attach, agent, monkeypatch, backend):
    monkeypatch.setenv("WORLD_SIZE", "2")
    attach(Training()).process_group()
    assert isinstance(dist.new_group([0, 1], backend=backend), StableGroup)


def test_a_group_of_a_named_backend_carries(attach, agent):
    agent.answer = met()
    heal = attach(Training())
    heal.process_group()
    group = dist.new_group(backend="gloo")
    for epoch in heal.epochs():
        with epoch:
            dist.all_reduce(torch.ones(2), group=group)
            assert group.inside is not None
            assert epoch.faults.noted is None


def test_a_communicator_that_lives_for_one_epoch_is_not_split(attach, agent):
    attach(Training()).process_group()
    with pytest.raises(errors.Misuse, match="use new_group"):
        dist.split_group(split_ranks=[[0]])


def test_beside_a_default_group_of_torchs_own_a_named_backend_is_torchs_too(attach, agent):
    attach(Training()).process_group()
    dist.destroy_process_group()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    assert not isinstance(dist.new_group([0], backend="gloo"), StableGroup)
    with contextlib.suppress(RuntimeError):  # gloo's of some torches
        assert not isinstance(dist.split_group(split_ranks=[[0]]), StableGroup)


def test_a_group_that_is_destroyed_before_the_epochs_is_not_met_in_them(attach, agent):
    agent.answer = met()
    heal = attach(Training())
    heal.process_group()
    stays, gone = dist.new_group([0]), dist.new_group([0])
    dist.destroy_process_group(gone)
    next(heal.epochs())
    assert stays.inside is not None
    assert gone.inside is None


def test_a_group_that_is_destroyed_lets_go_of_what_is_inside_once_no_member_can_come_back(attach, agent):
    agent.answer = met()
    heal = attach(Training())
    heal.process_group()
    group = dist.new_group([0])
    for epoch in heal.epochs():
        with epoch:
            group.shutdown()  # as torch does, from 2.15 on
            inside = weakref.ref(group.inside)
    group.shutdown()
    assert inside() is None


@pytest.mark.parametrize("leaves", ["the loop", "the function"])
def test_whoever_leaves_the_last_epoch_early_is_done_as_well(attach, agent, leaves):
    def train(heal):
        for epoch in heal.epochs():
            with epoch:
                if leaves == "the function":
                    return
                break

    agent.answer = met()
    train(attach(Training()))
    agent.wait_until_heard(lambda word: word.say == "done")


def test_a_collective_that_was_begun_before_a_loss_is_nobodys_behind_it(attach, agent):
    agent.answer = met()
    heal = attach(Training())
    first = next(heal.epochs())
    begun = Lenient(dist.all_reduce(torch.ones(1), async_op=True), [], first.faults)
    lost = Finished([], first.faults)
    assert begun.wait()
    assert lost.wait()
    heal._membership.leave(first)
    for work in (begun, lost):
        with pytest.raises(errors.EpochOver, match="begun in an epoch that is over: drop the work"):
            work.wait()


def test_a_group_made_without_us_is_refused(attach, agent):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    with pytest.raises(errors.GroupElsewhere, match="in place of init_process_group"):
        attach(Training()).process_group()


@pytest.mark.parametrize("missing", ["RANK", "WORLD_SIZE"])
def test_without_a_place_in_the_world_there_is_no_group(attach, agent, monkeypatch, missing):
    monkeypatch.delenv(missing)
    with pytest.raises(errors.Misuse, match="as torchrun sets them"):
        attach(Training()).process_group()


def test_without_an_agent_the_loop_is_a_plain_one(monkeypatch):
    monkeypatch.delenv("CHECKPOINTHEAL_ARENA", raising=False)
    monkeypatch.delenv("RANK")
    training = Training()
    heal = checkpointheal.attach(**training.parts())
    assert heal.process_group().size() == 1
    steps = []
    for epoch in heal.epochs():
        with epoch:
            for step in range(epoch.step, 3):
                training.step()
                heal.may_step()
                steps.append(heal.commit(step + 1))
    assert steps == [True] * 3
    assert heal.process_group() is checkpointheal.process_group()
    assert "CHECKPOINTHEAL_ARENA" not in os.environ
