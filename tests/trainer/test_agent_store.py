"""Torch's groups find their peers through the agent, and wait no longer than their epoch lasts."""

from datetime import timedelta

import pytest

from builders_trainer import SECONDS
from checkpointheal.contract.trainer import Hello, StoreAsk, StoreSaid
from checkpointheal.errors import RendezvousFailed
from checkpointheal.trainer.agent_store import LONGEST, AgentStore
from checkpointheal.trainer.line import Line

SOON = timedelta(milliseconds=20)


@pytest.fixture
def line(agent):
    line = Line(agent.directory, lambda: Hello(role="trainer", incarnation="t1", pid=1), lambda _: None)
    line.start()
    agent.wait_until_heard(lambda word: word.say == "hello")
    yield line
    line.end()


@pytest.fixture
def store(line):
    return AgentStore(line, 3, lambda: False)


def test_what_is_set_is_there_for_all(store, line):
    store.set("0", b"\x00here\xff")
    store.set("1", "a word")
    other = AgentStore(line, 3, lambda: False)
    other.wait(["0", "1"], timedelta(seconds=SECONDS))
    assert (other.get("0"), other.get("1")) == (b"\x00here\xff", b"a word")
    assert other.get("1") == b"a word", "what was waited for is read from the agent the second time"
    assert other.check(["0", "1"])
    assert not other.check(["0", "2"])
    assert [other.add("n", 2), other.add("n", 3)] == [2, 5]
    assert not other.delete_key("0")


def test_a_value_that_the_sockets_buffer_does_not_hold_goes_out_all_the_same(store):
    store.set("0", b"\xff" * LONGEST)
    assert store.get("0") == b"\xff" * LONGEST


def test_a_value_that_no_line_carries_is_refused_by_its_size(store):
    with pytest.raises(RendezvousFailed, match=f"0 has {LONGEST + 1} bytes, and a value of the rendezvous {LONGEST}"):
        store.set("0", b"\xff" * (LONGEST + 1))


def test_who_never_comes_is_told_by_the_key(store, agent):
    agent.silent = True
    with pytest.raises(RendezvousFailed, match=r"epoch 3: no answer within 0 s, when asked to get 2"):
        store.wait(["2"], SOON)


def test_a_key_that_an_agent_gives_up_waiting_for_is_missing(store):
    with pytest.raises(RendezvousFailed, match="nobody has come with 2"):
        store.wait(["2"], timedelta(seconds=SECONDS))


def test_the_end_of_the_epoch_ends_every_wait(line, agent):
    agent.silent = True
    with pytest.raises(RendezvousFailed, match="it is over"):
        AgentStore(line, 3, lambda: True).get("2")


def test_a_refusal_is_raised_by_its_reason(store, agent, monkeypatch):
    def refuse(ask: StoreAsk) -> StoreSaid:
        return StoreSaid(
            number=ask.number, epoch=ask.epoch, reason="EpochIsOver", message="nobody meets in it any more"
        )

    monkeypatch.setattr(agent, "_meet", refuse)
    with pytest.raises(RendezvousFailed, match="EpochIsOver: nobody meets"):
        store.set("0", b"")


def test_an_agent_that_comes_back_is_asked_again(store, agent):
    agent.vanish()
    agent.met["0"] = b"here"
    agent.listen()
    assert store.get("0") == b"here"


def test_an_answer_of_another_epoch_is_nobodys(line, agent, monkeypatch):
    def late(ask: StoreAsk) -> StoreSaid:
        return StoreSaid(number=ask.number, epoch=2, value=b"old")

    monkeypatch.setattr(agent, "_meet", late)
    with pytest.raises(RendezvousFailed, match="no answer"):
        AgentStore(line, 3, lambda: False).get("0")
