"""Word by word, the agent knows where its trainer stands."""

import errno
import os
from pathlib import Path

import pytest

from checkpointheal.agent.remembered import Numbers, Remembered
from checkpointheal.agent.trainer_seen import TrainerSeen
from checkpointheal.contract.trainer import Applied, Done, Exited, Hello, Rejoined, Wait, Withdraw

TRAINER = Hello(role="trainer", incarnation="t1", pid=1)
RUN = Hello(role="run", incarnation="r1", pid=2)


@pytest.fixture
def seen(tmp_path):
    return TrainerSeen(Remembered(tmp_path))


def hear(seen, *words, hello=TRAINER):
    for word in words:
        seen.hear(hello, word)
    return seen.facts


def applied(epoch=1):
    return Applied(epoch=epoch, step=3, seconds=0.5, digest="a" * 32)


def test_a_trainer_that_comes_is_starting(seen):
    assert hear(seen, TRAINER).state == "starting"


def test_a_trainer_that_comes_back_to_a_restarted_agent_is_training(seen):
    facts = hear(seen, TRAINER.model_copy(update={"epoch": 4}))
    assert (facts.state, facts.epoch) == ("training", 4)


def test_that_a_trainer_cannot_be_behind_is_known_from_its_first_word_on_and_over_its_end(seen):
    assert seen.behind
    hear(seen, TRAINER)
    assert not seen.behind, "it does not say that it can, as an older build"
    seen.leave(TRAINER)
    assert not seen.behind
    hear(seen, TRAINER.model_copy(update={"behind": True}))
    assert seen.behind
    hear(seen, RUN, hello=RUN)
    assert seen.behind


def test_the_next_start_of_a_trainer_is_in_no_epoch_yet(seen):
    hear(seen, TRAINER, Wait(request=1, budget=9), applied(epoch=2))
    other = TRAINER.model_copy(update={"incarnation": "t2"})
    assert hear(seen, TRAINER).epoch == 2
    assert hear(seen, other, hello=other).epoch == 0


@pytest.mark.parametrize("incarnation", ["t1", "t2"])
def test_who_comes_on_another_connection_was_told_nothing_on_it(seen, incarnation):
    hear(seen, TRAINER, Wait(request=1, budget=9), applied(epoch=2))
    seen.told_over = seen.told_to_leave = 2
    hear(seen, Rejoined(epoch=2, seconds=0.5))
    assert (seen.told_over, seen.told_to_leave) == (2, 2)
    again = TRAINER.model_copy(update={"incarnation": incarnation})
    hear(seen, again, hello=again)
    assert (seen.told_over, seen.told_to_leave) == (0, 0)


def test_a_survivor_that_asks_again_is_in_no_epoch_and_dies_of_itself(seen):
    hear(seen, TRAINER, Wait(request=1, budget=9), applied(epoch=2))
    seen.told_over = 2
    facts = hear(seen, Wait(request=2, budget=9))
    assert (facts.state, facts.epoch, facts.incarnation) == ("waiting", 0, "t1")
    ended = hear(seen, Exited(incarnation="t1", signal=9), hello=RUN).exit
    assert ended is not None
    assert not ended.told
    assert hear(seen, TRAINER, applied(epoch=3)).epoch == 3


def test_waiting_takes_a_new_request_number_each_time(seen):
    first = hear(seen, TRAINER, Wait(request=1, budget=9)).request
    second = hear(seen, Wait(request=2, budget=9)).request
    assert (first, second) == (1, 2)


def test_the_same_call_said_again_keeps_its_number(seen):
    assert hear(seen, TRAINER, Wait(request=1, budget=9), TRAINER, Wait(request=1, budget=9)).request == 1


def test_another_start_of_the_trainer_is_another_request(seen):
    hear(seen, TRAINER, Wait(request=1, budget=9))
    other = TRAINER.model_copy(update={"incarnation": "t2"})
    assert hear(seen, other, Wait(request=1, budget=9), hello=other).request == 2


def test_a_call_whose_number_cannot_be_kept_has_not_asked_until_it_can(seen, monkeypatch):
    """The arena was full. The call said again kept the number of the call before, which had been answered."""
    hear(seen, TRAINER, Wait(request=1, budget=9), applied(epoch=2))
    other = TRAINER.model_copy(update={"incarnation": "t2"})
    with monkeypatch.context() as full:
        full.setattr(Remembered, "grow", a_full_arena)
        with pytest.raises(OSError, match="No space left"):
            hear(seen, other, Wait(request=1, budget=9), hello=other)
        assert seen.facts.state == "starting"
    facts = hear(seen, other, Wait(request=1, budget=9), hello=other)
    assert (facts.state, facts.request, facts.epoch) == ("waiting", 2, 0)


def a_full_arena(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_request_numbers_go_on_after_a_restart_of_the_agent(tmp_path):
    hear(TrainerSeen(Remembered(tmp_path)), TRAINER, Wait(request=1, budget=9))
    assert hear(TrainerSeen(Remembered(tmp_path)), TRAINER, Wait(request=1, budget=9)).request == 2


def test_an_applied_answer_is_training_in_its_epoch(seen):
    facts = hear(seen, TRAINER, Wait(request=1, budget=9), applied(epoch=2), Rejoined(epoch=2, seconds=1))
    assert (facts.state, facts.epoch, facts.applied_digest, facts.rejoined_seconds) == ("training", 2, "a" * 32, 1)


def test_a_new_wait_forgets_what_was_applied(seen):
    facts = hear(seen, TRAINER, Wait(request=1, budget=9), applied(), Wait(request=2, budget=9))
    assert (facts.state, facts.applied_seconds, facts.applied_digest) == ("waiting", None, None)


@pytest.mark.parametrize(("request_number", "state"), [(1, "starting"), (0, "waiting")])
def test_only_the_waiting_call_can_be_withdrawn(seen, request_number, state):
    assert hear(seen, TRAINER, Wait(request=1, budget=9), Withdraw(request=request_number)).state == state


def test_a_trainer_that_leaves_is_absent(seen):
    hear(seen, TRAINER, Wait(request=1, budget=9))
    seen.leave(TRAINER)
    assert seen.facts.state == "absent"


def test_the_late_end_of_an_earlier_connection_changes_nothing(seen):
    hear(seen, TRAINER.model_copy(update={"incarnation": "t2"}))
    seen.leave(TRAINER)
    assert seen.facts.state == "starting"


def test_a_trainer_that_is_done_stays_done(seen):
    hear(seen, TRAINER, Done())
    seen.leave(TRAINER)
    hear(seen, Exited(incarnation="t1", code=0), hello=RUN)
    assert seen.facts.state == "done"


@pytest.mark.parametrize("told", [False, True])
def test_an_end_says_whether_the_trainer_had_been_told(seen, told):
    hear(seen, TRAINER, Wait(request=1, budget=9), applied(epoch=2))
    seen.told_over = 2 if told else 1
    facts = hear(seen, Exited(incarnation="t1", signal=9), hello=RUN)
    assert facts.state == "absent"
    assert (facts.exit.signal, facts.exit.epoch, facts.exit.told) == (9, 2, told)


WAITS = Wait(request=1, budget=9)
STOPPED, GOES_ON = Exited(incarnation="t1", stopped=True), Exited(incarnation="t1")


@pytest.mark.parametrize(
    ("late", "then"),
    [((TRAINER,), "starting"), ((TRAINER, WAITS), "waiting"), ((TRAINER, WAITS, applied()), "training")],
    ids=["it comes", "it waits", "it trains"],
)
def test_what_a_trainer_said_before_it_stood_still_and_is_read_afterwards_does_not_hide_that(seen, late, then):
    hear(seen, RUN, STOPPED, hello=RUN)
    assert hear(seen, *late).state == "stopped"
    assert hear(seen, GOES_ON, hello=RUN).state == then


def test_a_run_that_comes_anew_and_says_nothing_of_a_stop_saw_the_trainer_go_on(seen):
    hear(seen, TRAINER, WAITS)
    hear(seen, RUN, STOPPED, hello=RUN)
    assert hear(seen, RUN, hello=RUN).state == "waiting"
    assert hear(seen, RUN, STOPPED, hello=RUN).state == "stopped"


@pytest.mark.parametrize("state", [(), (WAITS,), (WAITS, applied())])
def test_who_stood_still_and_is_gone_is_absent_and_its_next_life_moves(seen, state):
    hear(seen, TRAINER, *state)
    hear(seen, RUN, STOPPED, hello=RUN)
    seen.leave(TRAINER)
    assert seen.facts.state == "absent"
    other = TRAINER.model_copy(update={"incarnation": "t2"})
    assert hear(seen, other, hello=other).state == "starting"


def test_a_trainer_that_stands_still_is_stopped_until_it_goes_on(seen):
    hear(seen, TRAINER, Wait(request=1, budget=9), applied())
    assert hear(seen, Exited(incarnation="t1", stopped=True), hello=RUN).state == "stopped"
    assert hear(seen, Exited(incarnation="t1"), hello=RUN).state == "training"


def test_a_stop_said_twice_still_remembers_what_was_before(seen):
    hear(seen, TRAINER, Wait(request=1, budget=9))
    stopped = Exited(incarnation="t1", stopped=True)
    assert hear(seen, stopped, stopped, Exited(incarnation="t1"), hello=RUN).state == "waiting"


def test_remembered_numbers_only_grow_and_outlive_the_process(tmp_path):
    Remembered(tmp_path).grow(attempt=5, epoch_answered=2)
    Remembered(tmp_path).grow(attempt=3, request=1)
    assert Remembered(tmp_path).numbers == Numbers(request=1, attempt=5, epoch_answered=2)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"attempt": -1}', b"[" * 9000])
def test_a_damaged_numbers_file_starts_anew(tmp_path, damage, caplog):
    (tmp_path / "agent.numbers.json").write_bytes(damage)
    assert Remembered(tmp_path).numbers == Numbers()
    (told,) = caplog.messages
    assert told.startswith("agent.numbers.json cannot be believed, what fences begins anew: ")


@pytest.mark.parametrize("before", [(), (TRAINER, Wait(request=1, budget=9)), (TRAINER, applied())])
def test_a_new_life_that_stands_still_before_its_first_word_is_the_one_to_restart(seen, before):
    hear(seen, *before)
    facts = hear(seen, Exited(incarnation="t2", stopped=True), hello=RUN)
    assert (facts.state, facts.incarnation, facts.epoch) == ("stopped", "t2", 0)


def test_a_trainer_that_is_done_may_stand_still(seen):
    facts = hear(seen, TRAINER, applied(), Done(), Exited(incarnation="t1", stopped=True))
    assert facts.state == "done"


def test_the_build_is_that_of_the_latest_trainer_and_stays_known_when_it_is_gone(seen):
    assert seen.build == ""
    hear(seen, TRAINER.model_copy(update={"build": "torch 2.6"}))
    hear(seen, RUN, hello=RUN)
    seen.leave(TRAINER)
    assert seen.build == "torch 2.6", "what it sealed is still its own"
    hear(seen, TRAINER.model_copy(update={"incarnation": "t2", "build": "torch 2.15"}))
    assert seen.build == "torch 2.15"


def test_what_an_agent_left_that_was_killed_while_it_wrote_keeps_no_number_from_being_remembered(tmp_path):
    (tmp_path / "agent.numbers.tmp").write_text('{"attempt": 4')
    Remembered(tmp_path).grow(attempt=5)
    assert Remembered(tmp_path).numbers == Numbers(attempt=5)


@pytest.mark.parametrize("put", [Path.mkdir, os.mkfifo, lambda at: at.symlink_to("elsewhere")])
@pytest.mark.parametrize("name", ["agent.numbers.json", "agent.numbers.tmp"])
def test_what_stands_in_the_place_of_the_numbers_is_neither_waited_for_nor_followed(tmp_path, name, put):
    """The trainer may have put it there: a pipe would be waited at for ever, a link leads where it likes."""
    put(tmp_path / name)
    (tmp_path / "elsewhere").write_text("mine")
    assert Remembered(tmp_path).numbers == Numbers()
    Remembered(tmp_path).grow(attempt=5)
    assert Remembered(tmp_path).numbers == Numbers(attempt=5)
    assert (tmp_path / "elsewhere").read_text() == "mine"
