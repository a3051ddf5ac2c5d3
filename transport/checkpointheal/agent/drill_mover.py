"""One side of one drill, in a process of its own: as a transfer for a heal, but nobody is held up and nothing is kept.

The donor gives its newest generation, chosen once the recipient has come, because training goes on and writes over what
is older. Must not know the gateway.
"""

import contextlib
import time

from checkpointheal import donor
from checkpointheal.agent import errand as words
from checkpointheal.agent import offers, ways
from checkpointheal.agent.receiving import receive
from checkpointheal.arena import Arena
from checkpointheal.ends.loose import LooseSource
from checkpointheal.ends.scratch import ScratchSink
from checkpointheal.errors import CheckpointHealError, NotSealed, Overtaken, PeerRefused

READS = 4
"""Times that the newest generation is read through, should training write over it meanwhile."""


def move(errand: words.Errand, voice: ways.Voice, arrived: ways.Arrived) -> words.Ended | words.Failed:
    """Carry it out. Raises CheckpointHealError."""
    if errand.side == "donor":
        return _give(errand, voice, arrived)
    try:
        return receive(errand, voice, ScratchSink(errand.identity), offers.terms(errand, time.monotonic()))
    except PeerRefused as error:  # what the donor says is the answer: it names what would stop a heal, too
        return words.Failed(reason=error.refusal, message=str(error).removeprefix(f"{error.refusal}: "))


def _give(errand: words.Errand, voice: ways.Voice, arrived: ways.Arrived) -> words.Ended:
    began = time.monotonic()
    terms = offers.terms(errand, began)
    with contextlib.ExitStack() as stack:
        way = ways.to_recipient(errand, terms.deadline, voice, arrived)
        stack.callback(way.close)
        try:
            source = _newest(errand, stack)
            offer = offers.offer(errand, source.identity, source.manifest, source.chunks)
        except CheckpointHealError as error:
            donor.decline(way.channel(), terms, error)
            raise
        held = time.monotonic()
        crossed = donor.give(way.channel(), source, offer, terms)
    return words.Ended(
        bytes=crossed,
        total=source.manifest.schema_.data_bytes,
        hold_seconds=held - began,
        transfer_seconds=time.monotonic() - held,
        verify_seconds=0,
        step=source.identity.step,
        state_digest=source.identity.state_digest,
    )


def _newest(errand: words.Errand, stack: contextlib.ExitStack) -> LooseSource:
    """Raises NotSealed where there is none, Overtaken where training was faster each time."""
    arena = Arena.open(errand.arena)
    for _ in range(READS - 1):
        with contextlib.suppress(NotSealed, Overtaken):
            return _read(arena, errand, stack)
    return _read(arena, errand, stack)


def _read(arena: Arena, errand: words.Errand, stack: contextlib.ExitStack) -> LooseSource:
    slot, _ = max(arena.seals().items(), key=lambda each: each[1].step, default=(None, None))
    if slot is None:
        raise NotSealed("no sealed generation lies here at this moment")
    reading = stack.enter_context(arena.read(slot, pin=False))
    return LooseSource(reading, whole=errand.secured is None)
