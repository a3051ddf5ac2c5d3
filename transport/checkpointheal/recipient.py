"""How does a recipient take a state from a channel?

The shell around the recipient's session. Everything about an offer is checked before a byte is allocated, every chunk
is digested where it lands, and nothing counts before all have. Must not know whose state it is.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch

from checkpointheal.channel import Channel, Pending, receive_answer, send_frame, tell
from checkpointheal.ends import WINDOW, Sink, Terms, memory
from checkpointheal.errors import CheckpointHealError, Overdue, PeerLost, PeerRefused, WorldFailed
from checkpointheal.session import Expected, RecipientSession, refusal
from checkpointheal.told_first import told_first
from checkpointheal.wire import LONGEST, Offer, Refuse, Want


@dataclass(frozen=True)
class Taken:
    """What came, and how long its parts took, in seconds."""

    offer: Offer
    bytes: int
    hold_seconds: float
    transfer_seconds: float
    verify_seconds: float


class Flying(NamedTuple):
    """A chunk on its way."""

    chunk: int
    places: Sequence[torch.Tensor]
    receiving: Sequence[Pending]


def take(channel: Channel, sink: Sink, expected: Expected, terms: Terms) -> Taken:
    """Take it; returns once the sink has sealed it.

    Raises PeerRefused (the donor will not, or has not the rest), BytesDiffer, Abandoned, BadFrame or UnknownVersion
    (the offer is not the expected one), what the sink raises (it cannot be had here), PeerLost or Overdue. A donor that
    listens is told.
    """
    began = time.monotonic()
    session = RecipientSession(expected)
    send_frame(channel, session.hello(), terms.left(began))
    offer, want = _judge(channel, session, sink, terms)
    offered = time.monotonic()
    send_frame(channel, want, terms.left(offered), session.version)
    try:
        with told_first(partial(_break_off, channel, session, terms), WorldFailed):
            terms.expect(offer.bytes_of(session.due))
            crossed = _receive(channel, session, sink, terms)
    except PeerLost as error:
        if session.cause is None:
            raise
        raise PeerLost(f"{session.cause.reason}: {session.cause.message}") from error
    arrived = time.monotonic()
    _conclude(channel, session, sink, terms)
    return Taken(offer, crossed, offered - began, arrived - offered, time.monotonic() - arrived)


def _judge(channel: Channel, session: RecipientSession, sink: Sink, terms: Terms) -> tuple[Offer, Want]:
    with told_first(partial(_refuse, channel, terms), PeerRefused, PeerLost, Overdue):
        offer = session.accept(*receive_answer(channel, terms.left(time.monotonic())))
        return offer, session.compare(sink.prepare(offer))


def _refuse(channel: Channel, terms: Terms, error: CheckpointHealError) -> None:
    tell(channel, refusal(error), terms.stall)


def _break_off(channel: Channel, session: RecipientSession, terms: Terms, error: CheckpointHealError) -> None:
    """The donor hears why, where it listens: once it has sent what it was asked for."""
    if session.due:
        channel.close()
    else:
        tell(channel, refusal(error), terms.stall, session.version)


def _receive(channel: Channel, session: RecipientSession, sink: Sink, terms: Terms) -> int:
    """Every wanted chunk, those after a differing one too: what lies here verified need not cross again."""
    flying: deque[Flying] = deque()
    crossed = 0
    for index in session.due:
        if len(flying) == WINDOW:
            crossed += _land(flying, session, sink, terms)
            terms.progress(crossed)
        places = sink.places(index)
        flying.append(Flying(index, places, [channel.receive(place) for place in places]))
    while flying:
        crossed += _land(flying, session, sink, terms)
        terms.progress(crossed)
    return crossed


def _land(flying: deque[Flying], session: RecipientSession, sink: Sink, terms: Terms) -> int:
    index, places, receiving = flying.popleft()
    for pending in receiving:
        pending.wait(terms.chunk(time.monotonic(), session.chunk_seconds * (len(flying) + 1)))
    if session.arrive(index, memory.digest_of(places)):
        sink.keep(index)
    else:
        session.explain(memory.beginning(places, LONGEST))
    return sum(place.numel() for place in places)


def _conclude(channel: Channel, session: RecipientSession, sink: Sink, terms: Terms) -> None:
    verdict = session.verdict()
    if isinstance(verdict.frame, Refuse):
        tell(channel, verdict.frame, terms.stall, session.version)
        raise verdict.error()
    with told_first(partial(_refuse, channel, terms)):
        sink.seal(session.offer)
    tell(channel, verdict.frame, terms.stall, session.version)
