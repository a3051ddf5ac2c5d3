"""What is copied beside the training loop is what lay there at the commit, or it is not kept."""

import threading

import pytest
import torch
from torch import nn

import checkpointheal
from builders_trainer import FAR, OPTIMIZERS, SECONDS, Training, warnings_of
from checkpointheal.contract.trainer import EXIT_EPOCH_OVER, EpochOver
from checkpointheal.errors import ArenaDoesNotFit, Misuse
from checkpointheal.manifest import describe
from checkpointheal.trainer import generation
from checkpointheal.trainer.background import Background
from checkpointheal.trainer.parts import declare
from checkpointheal.trainer.resting import Resting
from children import fork_for, wait


class Copying:
    """Copies as `write_out` does; in the background only once it is let go."""

    def __init__(self, monkeypatch) -> None:
        self.began, self.may_go_on = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self._write_out = generation.write_out
        monkeypatch.setattr(generation, "write_out", self)

    def __call__(self, live, data, chosen=None) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.began.set()
            assert self.may_go_on.wait(SECONDS)
            if self.error is not None:
                raise self.error
        self._write_out(live, data, chosen)


@pytest.fixture
def copying(monkeypatch):
    copying = Copying(monkeypatch)
    yield copying
    copying.may_go_on.set()


@pytest.fixture
def begin(attach):
    """A training after its first update, under our eyes."""

    def begin(training):
        heal = attach(training, background=True)
        heal.restore()
        training.step()
        return heal

    return begin


def steps_kept(agent):
    return sorted(seal.step for seal in agent.arena.seals().values())


def test_commit_returns_before_the_copy_and_the_next_update_waits_for_it(begin, agent, copying):
    training = Training()
    heal = begin(training)
    heal.commit(1)
    assert copying.began.wait(SECONDS)
    assert steps_kept(agent) == []
    kept_at_the_update = []
    training.optimizer.register_step_pre_hook(lambda *_: kept_at_the_update.append(steps_kept(agent)))
    threading.Timer(0.05, copying.may_go_on.set).start()
    training.step()
    assert kept_at_the_update == [[1]]


def test_what_is_not_the_optimizers_is_kept_as_it_was_at_the_commit(attach, begin, agent, copying):
    training = Training()
    heal = begin(training)
    kept = training.fingerprint()
    heal.commit(1)
    assert copying.began.wait(SECONDS)
    with torch.no_grad():
        for each in training.average.parameters():
            each.add_(1)
    training.schedule.step()
    training.data.position += 1
    copying.may_go_on.set()
    heal.done()
    restored = Training()
    agent.names(agent.slot_of(step=1))
    assert attach(restored).restore() == 1
    assert restored.fingerprint() == kept


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_comes_back_goes_on_bit_for_bit(attach, begin, agent, optimizer):
    unbroken, first, second = Training(optimizer), Training(optimizer), Training(optimizer)
    torch.manual_seed(0)
    for _ in range(6):
        unbroken.step()
    torch.manual_seed(0)
    heal = begin(first)
    for step in range(1, 4):
        heal.commit(step)
        first.step()
    heal.commit(4)
    heal.done()
    torch.rand(7)
    agent.names(agent.slot_of(step=4))
    assert attach(second, background=True).restore() == 4
    for _ in range(2):
        second.step()
    assert second.fingerprint() == unbroken.fingerprint()


def test_a_weight_written_before_the_update_is_noticed_and_later_commits_copy_at_once(begin, agent, copying, caplog):
    training = Training()
    heal = begin(training)
    heal.commit(1)
    assert copying.began.wait(SECONDS)
    with torch.no_grad():
        training.model[0].weight.clamp_(-0.1, 0.1)
    copying.may_go_on.set()
    training.step()
    assert steps_kept(agent) == []
    assert [line for line in warnings_of(caplog) if "model.0.weight was written between commit()" in line]
    assert agent.wait_until_heard(lambda word: word.say == "unkept").reason == "WrittenWhileCopied"
    heal.commit(2)
    assert steps_kept(agent) == [2]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    "act",
    [lambda training, heal: training.optimizer.step(), lambda _, heal: heal.may_step(), lambda _, heal: heal.done()],
    ids=["an update", "may_step", "done"],
)
def test_a_fork_beside_a_copy_waits_for_nothing_that_only_its_trainer_does(begin, agent, copying, act):
    training = Training()
    heal = begin(training)
    heal.commit(1)
    assert copying.began.wait(SECONDS)
    assert wait(fork_for(SECONDS, lambda: act(training, heal))) == 0
    copying.may_go_on.set()
    heal._keeping.settle()
    assert steps_kept(agent) == [1]
    assert agent.heard_of("done") == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_never_waits_for_what_was_begun_before_it():
    may_end, background = threading.Event(), Background()
    background.start(lambda: may_end.wait(SECONDS))
    assert wait(fork_for(SECONDS, background.wait)) == 0
    may_end.set()
    background.wait()


def test_a_process_that_ends_with_its_epoch_has_kept_its_last_step(begin, agent, copying):
    heal = begin(Training())
    agent.say(EpochOver(epoch=1, reason="PodReplaced", message="trainer-2", deadline=FAR))
    assert heal._ending._over.wait(SECONDS)
    with pytest.raises(SystemExit) as left:
        heal.commit(1)
    assert left.value.code == EXIT_EPOCH_OVER
    threading.Timer(0.05, copying.may_go_on.set).start()
    heal.done()
    assert steps_kept(agent) == [1]


def test_nobody_is_asked_for_a_state_while_one_is_being_copied(begin, agent, copying):
    heal = begin(Training())
    heal.commit(1)
    assert copying.began.wait(SECONDS)
    threading.Timer(0.05, copying.may_go_on.set).start()
    heal.restore()
    assert steps_kept(agent) == [1]
    assert [word.say for word in agent.heard if word.say in ("sealed", "wait")] == ["wait", "sealed", "wait"]


def test_a_copy_that_fails_is_told_and_training_goes_on(begin, agent, copying, caplog):
    training = Training()
    heal = begin(training)
    copying.error = ArenaDoesNotFit("the slot is too small")
    copying.may_go_on.set()
    heal.commit(1)
    training.step()
    assert [line for line in warnings_of(caplog) if "the slot is too small" in line]
    copying.error = None
    heal.commit(2)
    heal.done()
    assert steps_kept(agent) == [2]


def test_our_own_error_in_the_background_is_not_swallowed(begin, agent, copying):
    training = Training()
    heal = begin(training)
    copying.error = KeyError("a mistake of ours")
    copying.may_go_on.set()
    heal.commit(1)
    with pytest.raises(KeyError, match="a mistake of ours"):
        training.step()


def test_without_an_optimizer_nothing_says_when_an_update_begins(monkeypatch):
    monkeypatch.delenv("CHECKPOINTHEAL_ARENA", raising=False)
    with pytest.raises(Misuse, match=r"no torch\.optim\.Optimizer"):
        checkpointheal.attach(model=nn.Linear(1, 1), background=True)


def rests_of(**parts):
    """By path, whether a tensor's bytes rest between two updates."""
    declared = declare(parts, {})
    described = describe(declared.replicated_state())
    rests = Resting(declared).of(described)
    tensors = described.schema.tensors
    return {path: rests[region] for path, region in zip(tensors.paths, tensors.regions, strict=True)}


def test_only_what_an_optimizer_writes_rests_between_two_updates():
    training = Training()
    training.step()
    rests = rests_of(**{name: part for name, part in training.parts().items() if name != "private"})
    assert rests["model.0.weight"]
    assert rests["model.3.weight"]
    assert rests["optimizer.state.0.exp_avg"]
    assert not rests["average.module.0.weight"]
    assert not rests["average.n_averaged"]


def test_parameters_of_no_optimizer_and_buffers_do_not_rest():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model.register_buffer("scale", torch.ones(2))
    rests = rests_of(model=model, optimizer=torch.optim.SGD(model[0].parameters(), lr=0.1))
    assert rests == {
        "model.0.weight": True,
        "model.0.bias": True,
        "model.1.weight": False,
        "model.1.bias": False,
        "model.scale": False,
    }


def test_a_weight_that_shares_memory_with_a_buffer_does_not_rest():
    model = nn.Linear(2, 2)
    model.register_buffer("shared", model.weight.detach())
    rests = rests_of(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    assert rests == {"model.weight": False, "model.bias": True, "model.shared": False}


class FakeStreams:
    """Stands for CUDA's: which were made, what they wait for, and which each thread makes its own."""

    def __init__(self, monkeypatch) -> None:
        self.made, self.waits, self.begun_under = [], [], []
        monkeypatch.setattr(torch.cuda, "Stream", self._make)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the loop's on {device}")
        monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: self.begun_under.append(stream.device))

    def _make(self, device):
        made = FakeStream(device, self.waits)
        self.made.append(device)
        return made


class FakeStream:
    def __init__(self, device, waits) -> None:
        self.device, self._waits = device, waits

    def wait_stream(self, other) -> None:
        self._waits.append((self.device, other))


ONE, TWO, HOST = torch.device("cuda", 1), torch.device("cuda", 2), torch.device("cpu")


def test_each_device_has_one_stream_for_good_and_the_thread_never_goes_back_to_another_device(monkeypatch):
    """A thread begins on the device 0: what puts its stream back there makes a context on another rank's."""
    fakes, background = FakeStreams(monkeypatch), Background()
    for _ in range(2):
        background.start(lambda: fakes.begun_under.append("work"), (HOST, ONE, TWO))
        background.wait()
    assert fakes.made == [ONE, TWO]
    assert fakes.waits == [(ONE, "the loop's on cuda:1"), (TWO, "the loop's on cuda:2")] * 2
    assert fakes.begun_under == [ONE, TWO, "work"] * 2
