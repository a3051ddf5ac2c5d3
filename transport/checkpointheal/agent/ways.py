"""By which way do a donor's and a recipient's child reach each other?

Over TLS the recipient comes to the door of the donor's agent and both show their certificates before a byte crosses;
over gloo they meet in a store of the donor's, with a lifeline beside. Either way, a process group carries the state.
Must not know what is transferred.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from checkpointheal.agent import errand as words
from checkpointheal.agent.meeting import ARRIVAL_SECONDS, DONOR, RECIPIENT, Meeting, Visit
from checkpointheal.agent.tls import holder_of
from checkpointheal.channel import Channel, handshake
from checkpointheal.channel.group import GroupChannel
from checkpointheal.channel.lifeline import Lifeline
from checkpointheal.channel.stream import Stream
from checkpointheal.channel.stream_group import StreamGroup
from checkpointheal.contract.peer import preamble
from checkpointheal.contract.trust import pod_host
from checkpointheal.errors import BadFrame, CheckpointHealError, PeerLost, UntrustedPeer

Arrived = Callable[[float], socket.socket]
"""The guest, within so many seconds; raises Overdue."""


class Voice(Protocol):
    """How the agent is told."""

    def say(self, word: words.ErrandSays) -> None:
        """At once."""
        ...

    def fail_and_exit(self, error: CheckpointHealError) -> None:
        """From any thread."""
        ...


@dataclass(frozen=True)
class Way:
    """The way to the peer. `channel` may wait for it; `close` says goodbye."""

    channel: Callable[[], Channel]
    close: Callable[[], None]


def to_recipient(errand: words.Errand, deadline: float, voice: Voice, arrived: Arrived) -> Way:
    """Once the recipient is there. `deadline`: a monotonic instant. Raises Overdue, PeerLost or UntrustedPeer."""
    if errand.secured is not None:
        return _invited(errand, errand.secured, voice, arrived)
    meeting = Meeting(errand.host, errand.prefix, errand.deadline)
    voice.say(words.Meeting(store_port=meeting.store_port))
    lifeline = Lifeline(meeting.lifeline(), errand.stall, deadline, voice.fail_and_exit)
    return Way(meeting.channel, lifeline.close)


def to_donor(errand: words.Errand, deadline: float, voice: Voice) -> Way:
    """Raises Overdue, PeerLost or UntrustedPeer."""
    if errand.secured is not None:
        return _visited(errand, errand.secured)
    visit = Visit(errand.host, errand.store_port, errand.prefix, errand.deadline)
    lifeline = Lifeline(visit.lifeline(), errand.stall, deadline, voice.fail_and_exit)
    return Way(visit.channel, lifeline.close)


def _invited(errand: words.Errand, secured: words.Secured, voice: Voice, arrived: Arrived) -> Way:
    context = secured.papers.server()
    voice.say(words.Meeting())
    seconds = min(errand.deadline, ARRIVAL_SECONDS)
    guest = handshake.invite(arrived(seconds), context, seconds)
    holder = holder_of(handshake.shown(guest), time.time())
    if holder is None or holder.pod_uid != secured.peer_uid or not holder.shares_job_with(secured.papers.holder):
        guest.close()
        who = "nobody's agent" if holder is None else holder.uri
        raise UntrustedPeer(f"{who} came for the state that is granted to pod {secured.peer_uid}")
    return _over(Stream(guest, errand.stall, "the recipient"), DONOR, RECIPIENT)


def _visited(errand: words.Errand, secured: words.Secured) -> Way:
    seconds = min(errand.deadline, ARRIVAL_SECONDS)
    try:
        shown = preamble(secured.ticket)
        connection = socket.create_connection((errand.host, errand.store_port), seconds)
        connection.sendall(shown)  # a few bytes into an empty buffer: they do not wait
    except ValueError as error:
        raise BadFrame("the donor's answer holds no ticket") from error
    except OSError as error:
        where = f"{errand.host}, port {errand.store_port},"
        raise PeerLost(f"the donor at {where} does not answer: {error.strerror or error}") from error
    host = handshake.visit(connection, secured.papers.client(), pod_host(secured.peer_uid), seconds)
    return _over(Stream(host, errand.stall, "the donor"), RECIPIENT, DONOR)


def _over(stream: Stream, own: int, peer: int) -> Way:
    group = StreamGroup(own, 2, {peer: stream})
    return Way(lambda: GroupChannel(group, peer), group.shutdown)
