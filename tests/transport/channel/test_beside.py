"""Two processes that share a process group hear of one another's end over a connection of its own."""

import contextlib
import errno
import ipaddress
import math
import resource
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

import builders_ends
from checkpointheal.channel.beside import Beside
from checkpointheal.channel.lifeline import Lifeline
from checkpointheal.errors import BytesDiffer, CheckpointHealError, Overdue, PeerLost
from checkpointheal.wire import Lifeline as Where

SAFETY = 20.0
LONG = 60.0


class Side:
    """One side of a transfer, and the errors that it was told."""

    def __init__(self, stall: float = LONG) -> None:
        self.lost: SimpleQueue[CheckpointHealError] = SimpleQueue()
        self.beside = Beside(stall)

    def listen(self) -> Where:
        told = self.beside.listen(self.lost.put)
        assert told
        return told

    def call(self, told: Where) -> None:
        self.beside.call(self.lost.put, told)

    def connected(self) -> bool:
        return self.beside._lifeline is not None


@pytest.fixture
def sides() -> Iterator[tuple[Side, Side]]:
    taking, giving = Side(), Side()
    connect(taking, giving)
    yield taking, giving
    for side in (taking, giving):
        side.beside.cut()


def connect(taking: Side, giving: Side) -> None:
    giving.call(taking.listen())
    until = threading.Event()
    while not (taking.connected() and giving.connected()):
        until.wait(0.005)


def test_a_side_that_hangs_up_is_lost_to_the_other_at_once(sides: tuple[Side, Side]) -> None:
    taking, giving = sides
    taking.beside.cut()
    assert isinstance(giving.lost.get(timeout=SAFETY), PeerLost)
    assert taking.lost.empty()


def test_a_failure_of_the_world_hangs_up_and_anything_else_says_goodbye() -> None:
    for failure, lost in ((Overdue("late"), True), (BytesDiffer("other bytes"), False)):
        taking, giving = Side(), Side()
        connect(taking, giving)
        with pytest.raises(CheckpointHealError), taking.beside:
            raise failure
        if lost:
            assert isinstance(giving.lost.get(timeout=SAFETY), PeerLost)
        with giving.beside:
            pass
        assert giving.lost.empty()


def test_silence_is_overdue() -> None:
    taking, giving = Side(stall=0.2), Side()
    told = taking.listen()
    with socket.create_connection((str(told.host), told.port)) as mute:
        mute.sendall(told.call.encode())
        assert isinstance(taking.lost.get(timeout=SAFETY), Overdue)
    taking.beside.cut()
    giving.beside.cut()


def test_a_side_that_bears_years_of_silence_hears_of_an_end_at_once() -> None:
    taking, giving = Side(stall=1e8), Side(stall=1e8)
    connect(taking, giving)
    taking.beside.cut()
    assert isinstance(giving.lost.get(timeout=SAFETY), PeerLost)
    giving.beside.cut()


class Cut(socket.socket):
    """A connection whose way is gone: nothing can be said, and nothing comes."""

    def send(self, *_: object) -> int:
        raise OSError(errno.EHOSTUNREACH, "No route to host")


def test_a_way_that_is_gone_is_told_like_any_silence() -> None:
    lost: SimpleQueue[CheckpointHealError] = SimpleQueue()
    here, there = builders_ends.connected()
    with there:
        lifeline = Lifeline(Cut(fileno=here.detach()), 0.2, math.inf, lost.put)
        assert isinstance(lost.get(timeout=SAFETY), Overdue)
        lifeline.cut()


def test_a_sign_of_life_is_answered_once_and_an_answer_never() -> None:
    taking = Side()
    told = taking.listen()
    with socket.create_connection((str(told.host), told.port)) as peer:
        peer.settimeout(SAFETY)
        peer.sendall(told.call.encode())
        assert exactly(peer, 33) == told.answer.encode() + b"."
        peer.sendall(b".")
        assert exactly(peer, 1) == b","
        peer.sendall(b",,,")
        peer.shutdown(socket.SHUT_WR)
        assert isinstance(taking.lost.get(timeout=SAFETY), PeerLost)
        taking.beside.cut()
        assert peer.recv(100) == b""


def test_a_stranger_learns_nothing_and_the_donor_is_still_heard() -> None:
    taking, giving = Side(), Side()
    told = taking.listen()
    with socket.create_connection((str(told.host), told.port)) as stranger:
        stranger.sendall(b"0" * 32)
        stranger.settimeout(SAFETY)
        assert stranger.recv(100) == b""
    giving.call(told)
    while not giving.connected():
        threading.Event().wait(0.005)
    taking.beside.cut()
    assert isinstance(giving.lost.get(timeout=SAFETY), PeerLost)
    giving.beside.cut()


def test_whoever_answers_with_another_word_is_not_taken_for_the_recipient() -> None:
    giving = Side()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(SAFETY)
        giving.call(told(stranger.getsockname()[1]))
        guest, _ = stranger.accept()
        with guest:
            guest.settimeout(SAFETY)
            assert guest.recv(100) == b"a" * 32
            guest.sendall(b"c" * 32)
            assert guest.recv(100) == b""
    assert not giving.connected()
    assert giving.lost.empty()
    giving.beside.cut()


def exactly(peer: socket.socket, count: int) -> bytes:
    return b"".join(peer.recv(1) for _ in range(count))


def test_nobody_where_the_recipient_should_wait_changes_nothing() -> None:
    giving = Side()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with giving.beside:
        giving.call(told(port))
    assert giving.lost.empty()


def told(port: int) -> Where:
    return Where(host=ipaddress.ip_address("127.0.0.1"), port=port, call="a" * 32, answer="b" * 32)


def test_a_host_that_lets_nobody_listen_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> socket.socket:
        raise OSError("no")

    monkeypatch.setattr(socket, "create_server", refuse)
    side = Side()
    with side.beside as beside:
        assert beside.listen(side.lost.put) is None
        beside.call(side.lost.put, None)


def test_a_process_with_more_than_a_thousand_files_open_hears_as_well(tmp_path: Path) -> None:
    with contextlib.ExitStack() as files:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
        for _ in range(1100):
            files.enter_context((tmp_path / "file").open("w"))
        taking, giving = Side(), Side()
        connect(taking, giving)
        taking.beside.cut()
        assert isinstance(giving.lost.get(timeout=SAFETY), PeerLost)
        giving.beside.cut()
