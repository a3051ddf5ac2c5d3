"""`with epoch:` takes an error for its own only with the agent's word, and who does not leave it in time is ended."""

import threading

import pytest

from builders_trainer import FAR
from checkpointheal import errors
from checkpointheal.contract.trainer import EXIT_EPOCH_OVER, EpochOver
from checkpointheal.trainer import deadline
from checkpointheal.trainer import epoch as room
from checkpointheal.trainer.epoch import Epoch, alone
from children import fork, wait

LOST = RuntimeError("[gloo/transport/tcp/pair.cc:545] Connection closed by peer")


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(room, "CAUSE_GRACE", 0.0)
    monkeypatch.setattr(room.Epoch, "word_within", 0.0)
    monkeypatch.setattr(deadline, "PRESS_EVERY", 0.001)


def over(number=3, deadline=FAR):
    return EpochOver(epoch=number, reason="TrainerGone", message="trainer-2 is gone", deadline=deadline)


@pytest.fixture
def epoch():
    epoch = Epoch(3, lambda: None, lambda: None)
    yield epoch
    epoch.leave()


def test_the_users_own_error_goes_through_unchanged(epoch):
    mistake = ValueError("labels")
    with pytest.raises(ValueError, match="labels") as raised, epoch:
        raise mistake
    assert raised.value is mistake
    assert raised.value.__context__ is None


def test_an_error_of_an_epoch_that_is_over_is_the_epochs(epoch, capfd):
    with epoch:
        epoch.end(over())
        raise ZeroDivisionError("of garbage")
    assert not epoch.is_last
    assert "epoch 3 ended by ZeroDivisionError" in capfd.readouterr().err


def test_the_word_may_come_a_moment_after_the_error(epoch, monkeypatch):
    monkeypatch.setattr(room, "CAUSE_GRACE", 30.0)
    with epoch:
        threading.Timer(0.05, epoch.end, [over()]).start()
        raise ZeroDivisionError("of garbage")
    assert epoch.is_over


@pytest.mark.parametrize("leaves", [KeyboardInterrupt, SystemExit])
def test_whoever_wants_to_leave_leaves_at_once(epoch, leaves):
    epoch.end(over())
    with pytest.raises(leaves), epoch:
        raise leaves


def test_a_lost_collective_without_the_word_is_raised_as_it_was(epoch):
    epoch.faults.note(LOST)
    with pytest.raises(RuntimeError, match="closed by peer") as raised, epoch:
        epoch.require_whole()
    assert raised.value is LOST


def test_nothing_is_made_of_a_lost_collective(epoch):
    epoch.require_whole()
    epoch.faults.note(LOST)
    with pytest.raises(errors.EpochOver, match=r"epoch 3 has lost a collective: .*closed by peer"):
        epoch.require_whole()


def test_the_last_epoch_is_the_one_that_all_ranks_end(epoch):
    met = []
    epoch.finishes = lambda: met.append("all")
    with epoch:
        pass
    assert epoch.is_last
    assert met == ["all"]


def test_where_a_peer_is_lost_at_the_very_end_another_epoch_follows(epoch):
    epoch.finishes = lambda: (epoch.faults.note(LOST), epoch.end(over()))
    with epoch:
        pass
    assert not epoch.is_last


def test_where_the_end_is_lost_without_the_word_it_is_an_error(epoch):
    epoch.finishes = lambda: epoch.faults.note(LOST)
    with pytest.raises(RuntimeError, match="closed by peer"), epoch:
        pass


def test_one_that_is_left_for_another_member_needs_no_word_and_is_not_the_last(epoch, capfd):
    with epoch:
        epoch.recall()
        epoch.require_whole()
    with epoch:
        pass
    assert not epoch.is_last
    assert not epoch.is_over
    assert capfd.readouterr().err == "checkpointheal: epoch 3 is left for a member that is back\n"


def test_blocked_collectives_are_ended_until_it_is_left():
    pressed = threading.Semaphore(0)
    epoch = Epoch(3, pressed.release, lambda: None)
    epoch.end(over())
    for _ in range(3):
        assert pressed.acquire(timeout=30)
    epoch.leave()
    assert epoch.faults.over


def test_an_epoch_that_was_left_cannot_end_the_process():
    epoch = Epoch(3, lambda: None, lambda: None)
    epoch.leave()
    epoch.end(over(deadline=0.0))
    assert not epoch.is_over


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_does_not_leave_it_in_time_is_ended(capfd):
    def act():
        Epoch(3, lambda: None, lambda: None).end(over(deadline=0.1))
        threading.Event().wait()

    assert wait(fork(act)) == EXIT_EPOCH_OVER
    assert "epoch 3 is over (TrainerGone: trainer-2 is gone); it was not left in time" in capfd.readouterr().err


def test_without_with_nobody_knows_how_it_ended(epoch):
    with pytest.raises(errors.Misuse, match="`with epoch:`"):
        epoch.require_entered()
    with epoch:
        pass
    epoch.require_entered()


def test_alone_there_is_one_epoch_and_it_is_the_last():
    with alone(None) as epoch:
        assert epoch.step == 0
    assert epoch.is_last
    assert alone(lambda: 40).step == 40
