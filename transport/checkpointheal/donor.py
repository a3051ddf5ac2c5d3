"""How does a donor give a state over a channel?

The shell around the donor's session: it waits, sends and counts, and decides nothing. Must not know whose state it is.
"""

import time
from collections import deque
from collections.abc import Sequence

from checkpointheal.channel import Channel, Pending, receive_frame, send_frame, tell
from checkpointheal.channel.pace import Pace
from checkpointheal.ends import WINDOW, Source, Terms
from checkpointheal.errors import Abandoned, CheckpointHealError, Overdue, UnknownVersion
from checkpointheal.session import DonorSession, refusal
from checkpointheal.wire import Offer


def give(channel: Channel, source: Source, offer: Offer, terms: Terms) -> int:
    """Give it to who asks; returns the bytes that crossed.

    Raises PeerRefused where the recipient does not take it, Abandoned or UnknownVersion where it came for another
    attempt or speaks otherwise, BadFrame, PeerLost or Overdue.
    """
    session = DonorSession(offer)
    hello = receive_frame(channel, terms.left(time.monotonic()))
    try:
        answer = session.greet(hello)
    except (Abandoned, UnknownVersion) as error:
        tell(channel, refusal(error), terms.stall)
        raise
    send_frame(channel, answer, terms.left(time.monotonic()), session.version)
    wanted = session.wanted(receive_frame(channel, terms.left(time.monotonic())))
    terms.expect(offer.bytes_of(wanted))
    crossed = _stream(channel, source, wanted, terms)
    session.release(receive_frame(channel, terms.left(time.monotonic())))
    return crossed


def decline(channel: Channel, terms: Terms, error: CheckpointHealError) -> None:
    """Tell a recipient that nothing will be offered, so that it need not wait for its deadline."""
    receive_frame(channel, terms.left(time.monotonic()))
    tell(channel, refusal(error), terms.stall)


def _stream(channel: Channel, source: Source, wanted: Sequence[int], terms: Terms) -> int:
    pace = Pace(terms.bytes_per_second, time.monotonic())
    flying: deque[tuple[Pending, int]] = deque()
    crossed = 0
    for index in wanted:
        if len(flying) == WINDOW:
            crossed += _land(flying, terms, crossed)
        chunk = source.chunk(index)
        now = time.monotonic()
        time.sleep(min(delay := pace.delay(now, chunk.numel()), left := terms.left(now)))
        if delay > left:
            raise Overdue(f"the deadline passed after {crossed} bytes: the cap lets no more through in its time")
        flying.append((channel.send(chunk), chunk.numel()))
    while flying:
        crossed += _land(flying, terms, crossed)
    return crossed


def _land(flying: deque[tuple[Pending, int]], terms: Terms, crossed: int) -> int:
    pending, count = flying.popleft()
    pending.wait(terms.chunk(time.monotonic()))
    terms.progress(crossed + count)
    return count
