"""A process whose epoch is over ends, with a status that says so, however it is stuck; any other end stays its own."""

import atexit
import os
import sys
import threading

import pytest

from builders_trainer import FAR
from checkpointheal.contract.trainer import EXIT_EPOCH_OVER, EpochOver
from checkpointheal.trainer import deadline, ending
from checkpointheal.trainer.ending import Ending, is_of_a_collective
from children import fork, wait

# Python 3.12 warns that a child of a process with threads may deadlock; these children run a few lines and end.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

GLOO = "[gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:1: Connection reset by peer"


def over(deadline=FAR):
    return EpochOver(epoch=3, reason="PodReplaced", message="trainer-2 is gone", deadline=deadline)


def status_of(act, monkeypatch, collective_grace=0.0):
    monkeypatch.setattr(ending, "CAUSE_GRACE", 0.0)
    monkeypatch.setattr(ending, "COLLECTIVE_GRACE", collective_grace)
    return wait(fork(act))


def stand_still():
    threading.Event().wait()


def fail(error):
    raise error


def test_a_process_that_does_not_end_by_itself_is_ended_at_the_deadline(monkeypatch, capfd):
    def act():
        Ending(lambda: 0).begin(over(deadline=0.1))
        stand_still()

    assert status_of(act, monkeypatch) == EXIT_EPOCH_OVER
    assert "epoch 3 is over (PodReplaced: trainer-2 is gone); it did not end by itself" in capfd.readouterr().err


def test_the_deadline_is_kept_while_an_abort_hangs(monkeypatch):
    def act():
        Ending(lambda: stand_still() or 0).begin(over(deadline=0.1))
        stand_still()

    assert status_of(act, monkeypatch) == EXIT_EPOCH_OVER


def test_the_deadline_is_kept_while_nobody_reads_the_last_words(monkeypatch):
    def act():
        monkeypatch.setattr(deadline, "LAST_WORDS", 0.1)
        _, full = os.pipe()
        os.set_blocking(full, False)
        while True:
            try:
                os.write(full, b"x" * 65536)
            except BlockingIOError:
                break
        os.set_blocking(full, True)
        sys.stderr = os.fdopen(full, "w", buffering=1)
        Ending(lambda: 0).begin(over(deadline=0.1))
        stand_still()

    assert status_of(act, monkeypatch) == EXIT_EPOCH_OVER


def test_blocked_collectives_are_ended_until_the_process_comes_free(monkeypatch):
    def act():
        free, presses = threading.Event(), []

        def press():
            presses.append(1)
            if len(presses) == 3:
                free.set()
            return 1

        Ending(press).begin(over())
        free.wait()
        raise RuntimeError(GLOO)

    assert status_of(act, monkeypatch) == EXIT_EPOCH_OVER


def test_a_lost_peer_that_is_felt_before_it_is_told_waits_for_the_word(monkeypatch, capfd):
    def act():
        end = Ending(lambda: 0)
        threading.Timer(0.1, end.begin, (over(),)).start()
        raise RuntimeError(GLOO)

    assert status_of(act, monkeypatch, collective_grace=60.0) == EXIT_EPOCH_OVER
    said = capfd.readouterr().err
    assert "ended by the end of the epoch, with RuntimeError: [gloo" in said
    assert "Traceback" not in said


ENDS = {
    "an error of its own": (lambda: fail(ValueError("mine")), 1),
    "a lost peer that nobody confirms": (lambda: fail(RuntimeError(GLOO)), 1),
    "sys.exit": (lambda: sys.exit(7), 7),
    "its last line": (lambda: None, 0),
}


@pytest.mark.parametrize(("act", "status"), ENDS.values(), ids=ENDS)
def test_without_the_word_a_process_ends_as_it_would_have(act, status, monkeypatch):
    assert status_of(lambda: (Ending(lambda: 0), act()), monkeypatch) == status


def test_a_lost_peer_that_nobody_confirms_does_not_hold_the_end_up(monkeypatch, capfd):
    def act():
        atexit.register(stand_still)  # as a group does whose peer is gone, when Python clears what is left
        Ending(lambda: 0)
        raise RuntimeError(GLOO)

    assert status_of(act, monkeypatch) == 1
    assert f"RuntimeError: {GLOO}" in capfd.readouterr().err


@pytest.mark.parametrize(("act", "status"), ENDS.values(), ids=ENDS)
def test_after_the_word_every_end_is_the_epoch_s(act, status, monkeypatch):
    assert status_of(lambda: (Ending(lambda: 0).begin(over()), act()), monkeypatch) == EXIT_EPOCH_OVER


@pytest.mark.parametrize(("act", "status"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("told_before", [True, False])
def test_a_process_that_was_done_ends_as_it_would_have(act, status, told_before, monkeypatch):
    def all_of_it():
        end = Ending(lambda: 0)
        if told_before:
            end.begin(over())
        end.rest()
        end.begin(over(deadline=0.0))
        act()

    assert status_of(all_of_it, monkeypatch) == status


def test_an_error_of_its_own_keeps_its_traceback_even_after_the_word(monkeypatch, capfd):
    def act():
        Ending(lambda: 0).begin(over())
        raise ValueError("mine")

    assert status_of(act, monkeypatch) == EXIT_EPOCH_OVER
    assert "ValueError: mine" in capfd.readouterr().err


def test_an_error_is_of_a_collective_by_itself_or_by_what_it_came_from():
    def raised_from(origin):
        try:
            try:
                raise origin
            except type(origin) as error:
                raise KeyError("wrapped") from error
        except KeyError as error:
            return error

    assert is_of_a_collective(RuntimeError(GLOO))
    assert is_of_a_collective(raised_from(RuntimeError(GLOO)))
    assert not is_of_a_collective(raised_from(ValueError(GLOO)))
    assert not is_of_a_collective(RuntimeError("out of memory"))
