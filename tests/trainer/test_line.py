"""The line to the agent never makes the training loop wait longer than it chose, and never raises into it."""

import os
import signal
import socket
import threading
import time

import pytest
import torch

from checkpointheal.contract.trainer import (
    LINE_LIMIT,
    SOCKET_NAME,
    TRAINER_SAYS,
    EpochOver,
    Hello,
    PrivateKept,
    Reserve,
    Reserved,
    Restored,
    Sealed,
    StoreAsk,
    Wait,
)
from checkpointheal.trainer import line as line_room
from checkpointheal.trainer.line import Line
from checkpointheal.trainer.parts import declare
from checkpointheal.trainer.place import Place
from checkpointheal.trainer.restoring import Restoring
from children import fork, wait

SECONDS = 20.0


class Agent:
    """An agent that only listens; what it heard and the means to answer are public."""

    def __init__(self, directory) -> None:
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(directory / SOCKET_NAME))
        self.server.listen()

    def accept(self) -> None:
        self.server.settimeout(SECONDS)
        self.connection, _ = self.server.accept()
        self.connection.settimeout(SECONDS)
        self.lines = self.connection.makefile("rb")

    def hear(self):
        return TRAINER_SAYS.validate_json(self.lines.readline())

    def say(self, message) -> None:
        self.connection.sendall((message if isinstance(message, bytes) else message.model_dump_json().encode()) + b"\n")

    def vanish(self, directory) -> None:
        self.lines.close()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()
        self.server.close()
        (directory / SOCKET_NAME).unlink()


@pytest.fixture
def ended():
    return []


@pytest.fixture
def line(tmp_path, ended):
    line = Line(tmp_path, lambda: Hello(role="trainer", incarnation="t1", pid=1), ended.append)
    line.start()
    yield line
    line.end()


@pytest.fixture
def agent(tmp_path, line):
    agent = Agent(tmp_path)
    agent.accept()
    agent.hear()
    yield agent
    agent.server.close()
    agent.lines.close()
    agent.connection.close()


def test_the_first_word_is_hello(tmp_path, line):
    agent = Agent(tmp_path)
    agent.accept()
    assert agent.hear() == Hello(role="trainer", incarnation="t1", pid=1)
    agent.vanish(tmp_path)


def test_without_an_agent_nothing_is_said_and_nothing_is_waited_for(line):
    assert line.say(Wait(request=1, budget=1)) is False
    assert line.wait_for("restored", lambda _: True, 0) is None


def test_an_answer_reaches_who_waits_for_it(line, agent):
    agent.say(PrivateKept(step=4, buddies=1))
    assert line.wait_for("private_kept", lambda said: said.step >= 4, SECONDS) == PrivateKept(step=4, buddies=1)


def test_an_answer_that_is_not_accepted_is_no_answer(line, agent):
    agent.say(PrivateKept(step=3, buddies=1))
    agent.say(Reserved())
    assert line.wait_for("reserve", lambda _: True, SECONDS) == Reserved()
    assert line.wait_for("private_kept", lambda said: said.step >= 4, 0) is None


def test_a_trainer_that_goes_back_believes_no_word_about_steps_that_come_again(line, agent):
    agent.say(PrivateKept(step=20, buddies=1))
    assert line.wait_for("private_kept", lambda _: True, SECONDS)
    restoring = Restoring(declare({"model": torch.nn.Linear(1, 1)}, {}), line, None, Place())
    restoring.take_place(Restored(request=0, epoch=2, step=10, rung="Peer", slot=0))
    assert line.wait_for("private_kept", lambda said: said.step >= 11, 0) is None


def test_an_agent_that_hangs_up_on_every_call_is_called_after_a_pause(tmp_path, line, agent, monkeypatch):
    """Both turned as fast as they could, where a word that is said on each call was none of its version."""
    paused, sleep = [], time.sleep
    monkeypatch.setattr(line_room.time, "sleep", lambda seconds: (paused.append(seconds), sleep(0.001)))
    for _ in range(3):
        paused.clear()
        agent.connection.shutdown(socket.SHUT_RDWR)
        agent.lines.close()
        agent.connection.close()
        agent.accept()
        assert agent.hear().say == "hello"
        assert line_room.PAUSE in paused


def test_the_end_of_an_epoch_is_heard_while_nobody_waits(line, agent, ended):
    over = EpochOver(epoch=2, reason="PodReplaced", message="trainer-2", deadline=5)
    agent.say(over)
    agent.say(Reserved())
    line.wait_for("reserve", lambda _: True, SECONDS)
    assert ended == [over]


@pytest.mark.parametrize("noise", [b"", b"{}", b'{"say": "sing"}', b"\xff" * 10])
def test_words_that_nobody_knows_are_ignored(line, agent, noise):
    agent.say(noise)
    agent.say(Reserved())
    assert line.wait_for("reserve", lambda _: True, SECONDS) == Reserved()


def test_an_agent_that_comes_back_hears_what_still_holds(tmp_path, line, agent):
    line.say(Wait(request=1, budget=9), again="wait")
    line.say(Sealed(slot=0, step=3, pause=0))
    assert (agent.hear().say, agent.hear().say) == ("wait", "sealed")
    agent.vanish(tmp_path)
    returned = Agent(tmp_path)
    returned.accept()
    assert [returned.hear().say, returned.hear().say] == ["hello", "wait"]
    returned.vanish(tmp_path)


def test_waiting_ends_when_the_answer_comes_from_another_thread(line, agent):
    threading.Thread(target=lambda: (agent.hear(), agent.say(Reserved()))).start()
    line.say(Wait(request=1, budget=9))
    assert line.wait_for("reserve", lambda _: True, SECONDS) == Reserved()


def test_an_agent_that_stands_still_is_dropped_and_never_waited_for(line, agent):
    said = (line.say(Sealed(slot=0, step=step, pause=0)) for step in range(1_000_000))
    assert not all(said)


def test_a_long_word_to_the_rendezvous_waits_a_while_for_it_and_no_longer(line, agent, monkeypatch):
    monkeypatch.setattr(line_room, "LONG_WORD", 0.01)
    assert line.say(Sealed(slot=0, step=1, pause=0))
    assert not line.say(StoreAsk(number=1, epoch=3, do="set", key="0", value=bytes(LINE_LIMIT // 2)))


def test_what_was_answered_before_is_no_answer_to_a_new_question(line, agent):
    agent.say(Reserved())
    assert line.wait_for("reserve", lambda _: True, SECONDS)
    assert line.ask(Reserve(slot_bytes=5), "reserve")
    assert line.latest("reserve") is None
    agent.say(Reserved())
    assert line.wait_for("reserve", lambda _: True, SECONDS) == Reserved()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_data_loader_does_not_keep_its_dead_trainer_s_connection(tmp_path):
    agent = Agent(tmp_path)
    told, tell = os.pipe()

    def load_data():
        os.close(tell)
        os.read(told, 1)

    def train():
        line = Line(tmp_path, lambda: Hello(role="trainer", incarnation="t2", pid=1), lambda _: None)
        line.start()
        while not line.say(Sealed(slot=0, step=1, pause=0)):
            pass
        fork(load_data)
        line.say(Sealed(slot=0, step=2, pause=0))
        os.close(tell)
        os.read(told, 1)

    trainer = fork(train)
    agent.accept()
    while not (isinstance(said := agent.hear(), Sealed) and said.step == 2):
        pass
    os.kill(trainer, signal.SIGKILL)
    assert agent.lines.readline() == b""
    os.close(tell)
    os.close(told)
    wait(trainer)
    agent.vanish(tmp_path)
