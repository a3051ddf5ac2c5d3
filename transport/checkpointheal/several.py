"""How does a recipient take one state from several donors at once?

Their states are compared before a byte crosses, then each gives as much as it can. One donor left is enough. Must not
know whose state it is.
"""

import time
from collections.abc import MutableMapping, Sequence

from checkpointheal.ends import WINDOW, Sink
from checkpointheal.errors import PeerLost
from checkpointheal.gathering import Gathering
from checkpointheal.lane import Lane, Peer
from checkpointheal.recipient import Taken
from checkpointheal.session import Expected

_FEWEST = 2
"""Chunks under way per donor, however many donors there are: one arrives while the next is asked for."""
_GRACE, _GRACE_SHARE = 0.05, 0.02
"""How long donors are seen off, at least and as a share of the transfer. A slow one is let go by its lane, later."""


def take(peers: Sequence[Peer], sink: Sink, expected: Expected, lanes: MutableMapping[int, Lane]) -> Taken:
    """Take it; returns once the sink has sealed it. `lanes` gets each donor's: a slow one may be busy after that.

    Raises DonorsDisagree, what the sink raises, or, where no donor is left, the first one's error; all have ended then.
    """
    began = time.monotonic()
    gathering = Gathering(sink, [peer.rank for peer in peers])
    ahead = max(_FEWEST, 2 * WINDOW // len(peers))
    lanes.update({peer.rank: Lane(peer, expected, gathering, min(ahead, WINDOW)) for peer in peers})
    mine = [lanes[peer.rank] for peer in peers]
    for lane in mine:
        lane.thread.start()
    try:
        taken = _gather(gathering, sink, min(ahead, WINDOW) // 2, began)
    except Exception as error:  # every lane ends, whatever the sink or its target raises
        gathering.fail(error)
        gathering.ended(None)
        raise
    if taken is None:
        raise next((lane.error for lane in mine if lane.error is not None), PeerLost("no donor is left"))
    gathering.ended(max(_GRACE, _GRACE_SHARE * (time.monotonic() - began)))
    return taken


def _gather(gathering: Gathering, sink: Sink, run: int, began: float) -> Taken | None:
    """None: no donor was left."""
    offer = gathering.elected()
    if offer is None:
        return None
    gathering.share(offer, offer.missing(sink.prepare(offer)), run)
    offered = time.monotonic()
    if not gathering.whole():
        return None
    arrived = time.monotonic()
    sink.seal(offer)
    gathering.seal()
    return Taken(offer, gathering.bytes_here, offered - began, arrived - offered, time.monotonic() - arrived)
