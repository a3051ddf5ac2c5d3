"""One side of one transfer, in a process of its own.

Composition only: arena, the way to the peer, and the donor's or recipient's shell. The process belongs to the transfer,
so ending it is how a wait that nothing else ends is ended. Must not know the gateway.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable

import torch

from checkpointheal import donor
from checkpointheal.agent import drill_mover, offers, ways
from checkpointheal.agent import errand as words
from checkpointheal.agent.receiving import receive
from checkpointheal.arena import Arena, Reading
from checkpointheal.contract.layout import Identity
from checkpointheal.ends import Terms
from checkpointheal.ends.slot import SlotSink, SlotSource
from checkpointheal.errors import CheckpointHealError, SlotDamaged

SAY_EVERY = 0.1
ENDED_FROM_OUTSIDE = 75
"""Exit status where the lifeline ended the process."""

NICE = 10
"""Of 19: training has nearly all of a processor that both want, and a heal beside it still ends."""

Say = Callable[[words.ErrandSays], None]


def run(errand: words.Errand, say: Say, arrived: ways.Arrived) -> None:
    """Carry the errand out; what comes of it is said, never raised. May end the process."""
    torch.set_num_threads(1)
    if errand.stands_back:
        stand_back()
    voice = _Voice(say)
    try:
        ended = _move(errand, voice, arrived)
    except CheckpointHealError as error:
        voice.fail(error)
    else:
        voice.end(ended)


def stand_back() -> None:
    """From now on this process takes what others in its pod leave."""
    with contextlib.suppress(OSError):
        os.nice(NICE)


def _move(errand: words.Errand, voice: "_Voice", arrived: ways.Arrived) -> words.Ended | words.Failed:
    if errand.drill:
        return drill_mover.move(errand, voice, arrived)
    return _give(errand, voice, arrived) if errand.side == "donor" else _take(errand, voice)


class _Voice:
    """What the agent hears: now and then how far it got, and one last word, whichever thread has it first."""

    def __init__(self, say: Say) -> None:
        self._say, self._lock = say, threading.Lock()
        self._over, self._said_at = False, 0.0
        self._progress = words.Progress(bytes=0, total=0)

    def say(self, word: words.ErrandSays) -> None:
        with self._lock:
            if not self._over:
                self._say(word)

    def progress(self, crossed: int, total: int) -> None:
        with self._lock:
            self._progress = words.Progress(bytes=crossed, total=total)
            if time.monotonic() - self._said_at >= SAY_EVERY and not self._over:
                self._said_at = time.monotonic()
                self._say(self._progress)

    def end(self, word: words.Ended | words.Failed) -> None:
        with self._lock:
            if not self._over:
                self._over = True
                if self._progress.total:
                    self._say(self._progress)
                self._say(word)

    def fail(self, error: CheckpointHealError) -> None:
        self.end(words.Failed(reason=error.reason, message=str(error), bytes=self._progress.bytes))

    def fail_and_exit(self, error: CheckpointHealError) -> None:
        """For the lifeline's thread: the other one may be in a wait that only the end of the process ends."""
        self.fail(error)
        os._exit(ENDED_FROM_OUTSIDE)


def _give(errand: words.Errand, voice: _Voice, arrived: ways.Arrived) -> words.Ended:
    began = time.monotonic()
    with _pinned(errand) as reading:
        total = reading.seal.data_bytes
        terms = offers.terms(errand, began, lambda crossed: voice.progress(crossed, total))
        way = ways.to_recipient(errand, terms.deadline, voice, arrived)
        try:
            held, crossed = _serve(errand, SlotSource(reading), way, terms)
        finally:
            way.close()
    return words.Ended(
        bytes=crossed,
        total=total,
        hold_seconds=held - began,
        transfer_seconds=time.monotonic() - held,
        verify_seconds=0,
        step=errand.identity.step,
        state_digest=errand.identity.state_digest,
    )


def _serve(errand: words.Errand, source: SlotSource, way: ways.Way, terms: Terms) -> tuple[float, int]:
    """When the state was read through, and how many bytes crossed."""
    try:
        offer = offers.offer(errand, errand.identity, source.manifest, source.digests(errand.identity))
    except CheckpointHealError as error:
        donor.decline(way.channel(), terms, error)
        raise
    held = time.monotonic()
    return held, donor.give(way.channel(), source, offer, terms)


def _take(errand: words.Errand, voice: _Voice) -> words.Ended:
    began = time.monotonic()
    arena = Arena.create(errand.arena, slots=errand.slots)
    sink = SlotSink(arena, errand.job, errand.member, errand.epoch)
    terms = offers.terms(errand, began, lambda crossed: voice.progress(crossed, sink.total))
    try:
        return receive(errand, voice, sink, terms)
    finally:
        sink.abandon()


def _pinned(errand: words.Errand) -> Reading:
    """The granted generation. Raises SlotDamaged where the slot holds another by now."""
    if errand.slot is None:
        raise SlotDamaged("the errand names no slot")
    reading = Arena.open(errand.arena).read(errand.slot)
    seal = reading.seal
    held = Identity(
        step=seal.step, schema_digest=seal.schema_digest, state_digest=seal.state_digest or errand.identity.state_digest
    )
    if held != errand.identity:
        reading.close()
        raise SlotDamaged(f"slot {errand.slot} holds step {held.step} by now, granted is step {errand.identity.step}")
    return reading
