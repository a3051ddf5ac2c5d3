"""How does one of several donors give its part?

It is greeted, asked for run after run, two ahead so that its link never idles, and let go. Chunks land in buffers of
the lane and are copied once they are verified: a second copy that comes late touches nothing. Must not know the others.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import torch

from checkpointheal.channel import Channel, Pending, post_frame, receive_answer, send_frame, tell
from checkpointheal.channel.beside import Beside
from checkpointheal.channel.patient import Patient
from checkpointheal.contract.cut import Cut
from checkpointheal.ends import Terms, memory
from checkpointheal.errors import CheckpointHealError, Overdue, PeerLost, PeerRefused
from checkpointheal.gathering import Gathering
from checkpointheal.session import Expected, RecipientSession, refusal
from checkpointheal.wire import LONGEST, Refuse, Want

BEATS = 4
"""Signs of life per stall limit, for a donor that is asked for nothing."""


class Peer(NamedTuple):
    """A rank, the way to it, and on which terms. The channel must outlive a wait that is given up."""

    rank: int
    channel: Channel
    terms: Terms
    beside: Beside


class _Flying(NamedTuple):
    """A frame on its way out, or a chunk on its way in."""

    chunk: int | None
    places: Sequence[torch.Tensor]
    moving: Sequence[Pending]


class Lane:
    """One donor of several, in a thread of its own."""

    def __init__(self, peer: Peer, expected: Expected, gathering: Gathering, ahead: int) -> None:
        """`ahead`: how many chunks may be under way."""
        self._rank, self._channel, self._terms, self._beside = peer
        self._session, self._gathering, self._ahead = RecipientSession(self._listening(expected)), gathering, ahead
        self._flying: deque[_Flying] = deque()
        self._buffers: list[torch.Tensor] = []
        self._turn = self._brought = 0
        self._expected = False
        self.error: Exception | None = None
        """What lost this donor, once the lane has ended."""
        self.thread = threading.Thread(target=self._run, daemon=True, name=f"checkpointheal-lane-{peer.rank}")

    def _run(self) -> None:
        try:
            with self._beside:
                self._greet()
                self._gather()
                self._conclude()
        except Exception as error:  # the outermost of this thread: who gathers raises it where nothing else helps
            self.error = error
        finally:
            self._gathering.leave(self._rank)

    def _listening(self, expected: Expected) -> Expected:
        if not isinstance(self._channel, Patient):
            return expected
        return replace(expected, lifeline=self._beside.listen(self._channel.lose))

    def _greet(self) -> None:
        send_frame(self._channel, self._session.hello(), self._left())
        frame, version = receive_answer(self._channel, self._left())
        try:
            self._gathering.tell(self._rank, self._session.accept(frame, version))
        except PeerRefused:
            raise
        except CheckpointHealError as error:
            tell(self._channel, refusal(error), self._terms.stall)
            raise

    def _gather(self) -> None:
        try:
            while (run := self._next()) is not None:
                if run or not self._flying:
                    self._want(run)
                else:
                    self._land()
            while self._flying:
                self._land()
        except (PeerLost, Overdue) as error:
            post_frame(self._channel, refusal(error))  # nobody waits for it; should it come back, it is free
            raise
        except Exception as error:  # whatever ends the gathering: the donor is there, and is to be free
            self._drain()
            tell(self._channel, refusal(error), self._terms.stall)
            raise

    def _conclude(self) -> None:
        self._expect()
        if self._session.state == "Comparing":
            self._want(())
            self._drain()
        verdict = self._session.verdict()
        tell(self._channel, verdict.frame, self._terms.stall, self._session.version)
        if isinstance(verdict.frame, Refuse):
            raise verdict.error(f"rank {self._rank}: ")

    def _next(self) -> tuple[int, ...] | None:
        if len(self._session.due) > self._ahead // 2:
            return ()
        return self._gathering.ask(self._rank, 0 if self._flying else self._terms.stall / BEATS)

    def _want(self, run: tuple[int, ...]) -> None:
        """Ask, and take in right behind it: what is started in this order is over in this order."""
        if run:
            self._expect()
        self._flying.append(_Flying(None, (), self._post(self._session.want(run))))
        for index in run:
            places = self._places(index)
            self._flying.append(_Flying(index, places, [self._channel.receive(place) for place in places]))

    def _post(self, want: Want) -> list[Pending]:
        return post_frame(self._channel, want, self._session.version)

    @cached_property
    def _cut(self) -> Cut:
        return self._session.offer.cut()

    def _places(self, index: int) -> tuple[torch.Tensor, ...]:
        if len(self._buffers) < self._ahead:
            self._buffers.append(torch.empty(self._cut.longest, dtype=torch.uint8, device="cpu"))
        buffer = self._buffers[self._turn % self._ahead]
        self._turn += 1
        return tuple(buffer[part.in_chunk :][: part.nbytes] for part in self._cut.parts(index))

    def _land(self) -> None:
        index, places, moving = self._flying.popleft()
        for pending in moving:
            pending.wait(self._terms.chunk(time.monotonic(), self._session.chunk_seconds * (len(self._flying) + 1)))
        if index is None:
            return
        same = self._session.arrive(index, memory.digest_of(places))
        if not same:
            self._session.explain(memory.beginning(places, LONGEST))
        if self._gathering.arrive(self._rank, index, places, same):
            self._brought += self._session.offer.bytes_of([index])
            self._report()

    def _expect(self) -> None:
        if not self._expected:
            self._expected = True
            self._terms.expect(self._gathering.bytes_due)

    def _report(self) -> None:
        """Who is told may raise, and is right: nobody waits for the rest."""
        try:
            self._terms.progress(self._brought)
        except Exception as error:  # who is told is the user's own function
            self._gathering.fail(error)
            raise

    def _drain(self) -> None:
        """Take in what is under way, so that the donor comes to hear the last word."""
        while self._flying:
            for pending in self._flying.popleft().moving:
                pending.wait(self._terms.chunk(time.monotonic()))

    def _left(self) -> float:
        return self._terms.left(time.monotonic())
