"""How does a donor give a state over a channel?

The shell around the donor's session: it waits, sends and counts, and decides nothing. Must not know whose state it is.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from checkpointheal.channel import Channel, Pending, receive_frame, send_frame, tell
from checkpointheal.channel.pace import Pace
from checkpointheal.ends import WINDOW, Source, Terms
from checkpointheal.errors import Abandoned, CheckpointHealError, Misuse, Overdue, UnknownVersion
from checkpointheal.excused import Excused
from checkpointheal.session import DonorSession, refusal
from checkpointheal.wire import Offer


def give_or_excuse(channel: Channel, source: Source, offer: Offer, terms: Terms, *, whole: bool) -> int:
    """Give it, and tell the recipient where that fails on this side; the error is raised unchanged once that was told.

    `whole`: the channel cannot end a message early.
    """
    excused = Excused(source, offer, whole=whole)
    told = replace(terms, progress=excused.telling(terms.progress), expect=excused.telling(terms.expect))
    crossed = 0
    try:
        crossed = give(channel, excused, offer, told)
    except CheckpointHealError:
        if excused.error is None:
            raise
    if excused.error is not None:
        raise excused.error
    return crossed


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
    terms.lifeline(session.lifeline)
    try:
        send_frame(channel, answer, terms.left(time.monotonic()), session.version)
    except Misuse as error:  # it is too long for any peer
        tell(channel, refusal(error), terms.stall)
        raise
    stream = _Stream(channel, source, terms)
    while (wanted := session.asked(receive_frame(channel, terms.left(time.monotonic())))) is not None:
        stream.expect(offer.bytes_of(wanted))
        stream.send(wanted)
    return stream.crossed


def decline(channel: Channel, terms: Terms, error: CheckpointHealError) -> None:
    """Tell a recipient that nothing will be offered, so that it need not wait for its deadline."""
    receive_frame(channel, terms.left(time.monotonic()))
    tell(channel, refusal(error), terms.stall)


class _Stream:
    """The chunks of one transfer, under one cap however often more are asked for."""

    def __init__(self, channel: Channel, source: Source, terms: Terms) -> None:
        self._channel, self._source, self._terms = channel, source, terms
        self._pace = Pace(terms.bytes_per_second, time.monotonic())
        self._flying: deque[tuple[list[Pending], int]] = deque()
        self._asked: int | None = None
        self.crossed = 0

    def expect(self, count: int) -> None:
        """So many bytes more. A sign of life is not worth telling, the first word is."""
        if count or self._asked is None:
            self._asked = (self._asked or 0) + count
            self._terms.expect(self._asked)

    def send(self, wanted: Sequence[int]) -> None:
        """Send them; returns when they are gone."""
        for index in wanted:
            if len(self._flying) == WINDOW:
                self._land()
            parts = self._source.parts(index)
            count = sum(part.numel() for part in parts)
            self._keep_to_the_cap(count)
            self._flying.append(([self._channel.send(part) for part in parts], count))
        while self._flying:
            self._land()

    def _keep_to_the_cap(self, count: int) -> None:
        now = time.monotonic()
        time.sleep(min(delay := self._pace.delay(now, count), left := self._terms.left(now)))
        if delay > left:
            raise Overdue(f"the deadline passed after {self.crossed} bytes: the cap lets no more through in its time")

    def _land(self) -> None:
        sending, count = self._flying.popleft()
        for pending in sending:
            pending.wait(self._terms.chunk(time.monotonic()))
        self.crossed += count
        self._terms.progress(self.crossed)
