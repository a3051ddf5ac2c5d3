"""One connection carries messages in order, bit for bit, and no wait on it is for ever."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

import builders_ends as build
from checkpointheal.channel import framed
from checkpointheal.channel.stream import Stream
from checkpointheal.errors import Abandoned, BadFrame, CheckpointHealError, Overdue, PeerLost

Ends = tuple[Stream, Stream]
RECORD = 1 << 14
"""Bytes of a TLS record."""


@pytest.fixture(params=[build.connected, build.secured], ids=["plain", "tls"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    here, there = (Stream(each, 20) for each in request.param())
    yield here, there
    here.abort()
    there.abort()


def some(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def nothing(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.uint8)


def cross(giving: Stream, taking: Stream, counts: list[int]) -> None:
    sent, come = [some(count, count) for count in counts], [nothing(count) for count in counts]
    pending = [giving.send(each) for each in sent] + [taking.receive(each) for each in come]
    for each in pending:
        each.wait(60)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(come, sent, strict=True))


LENGTHS = sorted({base + more for base in (1, RECORD, 2 * RECORD, framed.AT_ONCE, 3 << 20) for more in (-1, 0, 1)})


@pytest.mark.parametrize("count", LENGTHS)
def test_a_message_of_any_length_comes_as_it_went(ends: Ends, count: int) -> None:
    cross(*ends, [count])
    cross(*ends[::-1], [count, 0, count])


def test_many_messages_keep_their_order(ends: Ends) -> None:
    cross(*ends, [number % 7 * 100 for number in range(3000)])


def test_both_ways_are_open_at_once_whoever_waits_first(ends: Ends) -> None:
    here, there = ends
    count = 16 << 20
    came = [nothing(count), nothing(count)]
    sent = [here.send(some(count, 1)), there.send(some(count, 2))]
    for pending in (here.receive(came[1]), there.receive(came[0]), *sent):
        pending.wait(60)
    assert [torch.equal(each, some(count, seed)) for seed, each in enumerate(came, 1)] == [True, True]


@pytest.mark.parametrize("due", [0, 1, 99, 101], ids=str)
def test_a_message_of_another_length_than_is_due_ends_the_stream(ends: Ends, due: int) -> None:
    here, there = ends
    there.send(some(100))
    with pytest.raises(PeerLost, match=f"100 bytes came from the peer where {due} were due"):
        here.receive(nothing(due)).wait(20)
    with pytest.raises(PeerLost):
        here.send(some(1))
    with pytest.raises(PeerLost):
        there.receive(nothing(1)).wait(20)


def test_what_was_sent_before_hanging_up_arrives_and_then_nothing_more(ends: Ends) -> None:
    here, there = ends
    sent, came = some(1 << 20), nothing(1 << 20)
    pending = here.send(sent)
    closing = threading.Thread(target=here.close)
    closing.start()
    there.receive(came).wait(20)
    pending.wait(20)
    with pytest.raises(PeerLost, match="left before this side was done"):
        there.receive(nothing(1)).wait(20)
    there.close()
    closing.join()
    assert torch.equal(came, sent)
    with pytest.raises(PeerLost, match="this end of the channel was closed"):
        here.send(sent)


def test_a_goodbye_is_heard_by_who_waits_already(ends: Ends) -> None:
    here, there = ends
    waiting = here.receive(nothing(1))
    closing = threading.Thread(target=there.close)
    closing.start()
    with pytest.raises(PeerLost, match="left before this side was done"):
        waiting.wait(20)
    here.close()
    closing.join()


def test_both_sides_may_hang_up_at_once(ends: Ends) -> None:
    build.side_by_side(*(end.close for end in ends))


def test_an_abort_ends_every_wait_on_both_sides(ends: Ends) -> None:
    here, there = ends
    waiting = [here.receive(nothing(1)), here.receive(nothing(2)), here.send(some(64 << 20)), here.send(some(1))]
    aborting = threading.Timer(0.05, here.abort)
    aborting.start()
    for each in waiting:
        with pytest.raises(Abandoned):
            each.wait(20)
    with pytest.raises(PeerLost):
        there.receive(nothing(64 << 20)).wait(20)
    aborting.join()
    with pytest.raises(Abandoned):
        here.send(some(1))


def test_a_wait_that_is_over_ends_the_stream_for_both(ends: Ends) -> None:
    here, there = ends
    first, second = here.receive(nothing(1)), here.receive(nothing(1))
    with pytest.raises(Overdue, match=r"nothing came or went for 0\.1 s"):
        first.wait(0.1)
    with pytest.raises(Overdue):
        second.wait(20)
    with pytest.raises(PeerLost):
        there.receive(nothing(1)).wait(20)


def patient(stall: float = 0.4) -> list[Stream]:
    return [Stream(each, stall) for each in build.connected()]


def test_a_peer_that_has_nothing_to_say_is_alive_all_the_same() -> None:
    here, there = patient()
    with pytest.raises(Overdue, match="nothing came or went"):
        here.receive(nothing(1)).wait(1.2)
    here.abort()
    there.abort()


def test_a_peer_whose_message_nobody_takes_yet_is_not_blamed() -> None:
    sent = some(32 << 20)
    here, there = patient()
    pending = there.send(sent)
    assert not threading.Event().wait(1.2), "this side is busy, for three times the stall limit"
    came = nothing(len(sent))
    here.receive(came).wait(20)
    pending.wait(20)
    assert torch.equal(came, sent)
    here.abort()
    there.abort()


@contextlib.contextmanager
def beside_a_raw_peer(stall: float = 20) -> Iterator[tuple[Stream, socket.socket]]:
    connection, raw = build.connected()
    stream = Stream(connection, stall)
    with raw:
        yield stream, raw
    stream.abort()


def test_a_side_that_bears_years_of_silence_carries_as_well() -> None:
    here, there = build.stream_pair(stall=1e8)
    cross(here, there, [3, 1 << 20])
    here.abort()
    there.abort()


def test_a_peer_that_stands_still_is_overdue() -> None:
    with beside_a_raw_peer(0.2) as (stream, _), pytest.raises(Overdue, match=r"has not been heard for 0\.2 s"):
        stream.receive(nothing(1)).wait(20)


def test_a_peer_that_takes_nothing_is_overdue() -> None:
    with beside_a_raw_peer(0.2) as (stream, _), pytest.raises(Overdue, match=r"has not been heard for 0\.2 s"):
        stream.send(nothing(64 << 20)).wait(20)


def hang_up(raw: socket.socket) -> None:
    raw.close()


def reset(raw: socket.socket) -> None:
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


@pytest.mark.parametrize("end", [hang_up, reset])
@pytest.mark.parametrize("said", [b"", b"\0", struct.pack("<BQ", 0, 100), struct.pack("<BQ", 0, 100) + b"x" * 99])
def test_a_peer_that_is_gone_is_noticed_without_a_clock(end: Callable[[socket.socket], None], said: bytes) -> None:
    began = time.monotonic()
    with beside_a_raw_peer(60) as (stream, raw):
        waiting = stream.receive(nothing(100))
        raw.sendall(said)
        end(raw)
        with pytest.raises(PeerLost):
            waiting.wait(50)
    assert time.monotonic() - began < 50, "no clock has run out"


@pytest.mark.parametrize(
    "said", [struct.pack("<BQ", 3, 0), struct.pack("<BQ", 1, 5), struct.pack("<BQ", 2, 1), b"GET / HTTP/1.1\r\n"]
)
def test_what_is_no_message_ends_the_stream(said: bytes) -> None:
    with beside_a_raw_peer() as (stream, raw):
        waiting = stream.receive(nothing(100))
        raw.sendall(said)
        with pytest.raises(BadFrame):
            waiting.wait(20)


def test_the_largest_length_makes_nothing_be_allocated() -> None:
    with beside_a_raw_peer() as (stream, raw):
        waiting = stream.receive(nothing(100))
        raw.sendall(struct.pack("<BQ", 0, 2**64 - 1))
        with pytest.raises(PeerLost, match="where 100 were due"):
            waiting.wait(20)


def test_hanging_up_on_a_peer_that_takes_nothing_is_over_within_the_stall_limit() -> None:
    large = nothing(64 << 20)
    with beside_a_raw_peer(0.3) as (stream, _):
        pending = stream.send(large)
        stream.close()
        with pytest.raises(CheckpointHealError):
            pending.wait(0)
