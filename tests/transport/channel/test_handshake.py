"""Who does not shake hands is hung up on, and told of by what it did."""

import socket
import struct
from collections.abc import Callable

import pytest

import builders_ends as build
import builders_trust
from checkpointheal.channel import handshake
from checkpointheal.errors import Overdue, PeerLost
from checkpointheal_operator.gateway.authority import Authority

DONOR = builders_trust.credentials(Authority.begin((), builders_trust.NOW), builders_trust.a_holder(0))


def reset(raw: socket.socket) -> None:
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


STRANGERS = {
    "speaks of other things": (lambda raw: raw.sendall(b"GET / HTTP/1.1\r\n\r\n"), PeerLost, "hands: [A-Z_]+$"),
    "hangs up": (lambda raw: raw.close(), PeerLost, "hands: [A-Z_]+$"),
    "resets its connection": (reset, PeerLost, "hands: Connection reset by peer$"),
    "says nothing": (lambda raw: None, Overdue, r"did not shake hands within 0\.5 s$"),
}


@pytest.mark.parametrize(("act", "error", "told"), STRANGERS.values(), ids=STRANGERS)
def test_a_guest_that_does_not_shake_hands_is_hung_up_on_and_told_of(
    act: Callable[[socket.socket], None], error: type[Exception], told: str
) -> None:
    here, there = build.connected()
    with there:
        act(there)
        with pytest.raises(error, match=told):
            handshake.invite(here, DONOR.server, 0.5)
    assert here.fileno() == -1
