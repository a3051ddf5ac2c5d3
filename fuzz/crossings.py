"""What is tried where more than one peer speaks, or where something lies at the recipient already?

Several donors, a chain, a target of which only a part differs, an arena's slot. Whatever the bad ones say, what an
honest one gives must come to a good end beside them or after them.
"""

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

import builders_arena
from checkpointheal import PGTransport, digest, recipient, several, wire
from checkpointheal.arena import Arena
from checkpointheal.channel.beside import Beside
from checkpointheal.channel.group import GroupChannel
from checkpointheal.channel.patient import Patient
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.layout import Identity, Schema
from checkpointheal.ends import Terms
from checkpointheal.ends.inplace import LiveSink
from checkpointheal.ends.leaves import NewState
from checkpointheal.ends.live import LiveSource, StagedSink
from checkpointheal.ends.placements import Meshes
from checkpointheal.ends.slot import SlotSink
from checkpointheal.ends.target import Target
from checkpointheal.errors import ArenaDoesNotFit, CheckpointHealError
from checkpointheal.lane import Lane, Peer
from checkpointheal.manifest import describe
from checkpointheal.manifest.packing import clear
from checkpointheal.session import Expected, RecipientSession
from fuzz import mutations, scripts, states
from fuzz.outcomes import PATIENCE, SECONDS, SMALL, Aim, alike, offer_in, refuses_to_send, require, same, state_of
from fuzz.peer import Booked, Gathered, Scripted

DONORS = 3
EXPECTED = Expected(states.HEAL, states.ATTEMPT, None)
CPU = torch.device("cpu")


def donors(raw: bytes) -> None:
    """Three donors say anything: what is taken is what most of them offer; two honest ones are enough."""
    modes, books = _books(raw, DONORS)
    sink = _sink(Target(states.many()) if modes & 2 else None)
    lanes: dict[int, Lane] = {}
    peers = [_peer(rank, Booked(book)) for rank, book in enumerate(books)]
    honest = sum(map(_is_honest, books))
    try:
        taken = several.take(peers, sink, EXPECTED, lanes)
    except CheckpointHealError:
        require(2 * honest <= DONORS)
    else:
        told = [found for book in books if (found := _believed(book)) is not None]
        require(2 * told.count(taken.offer.identity) > len(told))
        landed = LiveSource(_Landed(taken.offer, sink), taken.offer.chunk_bytes)
        for at in range(len(taken.offer.chunks)):
            kept = b"".join(part.numpy().tobytes() for part in landed.parts(at))
            require(any(_comes_to(taken.offer, book, at, kept) for book in books))
        require(2 * honest <= DONORS or taken.offer == offer_in(_honest()))
    for lane in lanes.values():
        lane.thread.join(SECONDS)
        require(not lane.thread.is_alive() and isinstance(lane.error, CheckpointHealError | None))


def chain(raw: bytes) -> None:
    """A donor and the next rank say anything: who is between believes nothing wrong, and passes on nothing else."""
    modes, (book, script) = _books(raw, 2)
    live = states.older() if modes & 2 else None
    taker = Scripted(script)
    group = Gathered([Booked(book), taker])
    transport = PGTransport(group, PATIENCE, CPU, live and (lambda: live))  # type: ignore[arg-type]
    found: object = None
    with contextlib.suppress(CheckpointHealError):
        found = transport.recv_checkpoint(0, relay_to=[1])
    if _is_honest(book):
        require(same(found, states.many()))
    elif live is not None and found is None:
        require(same(live, states.older()) or refuses_to_send(transport, live))
    if live is None or found is not None:  # memory that is spoiled meanwhile may still be under way: digests tell it
        _require_true(taker.sent, book)


def delta(raw: bytes) -> None:
    """A donor of what differs says anything; an honest one after it makes the target whole, and asks for no more."""
    modes, (book,) = _books(raw, 1)
    live = states.older()
    transport = PGTransport(Booked(book), PATIENCE, CPU, lambda: live, staged=bool(modes & 2))  # type: ignore[arg-type]
    try:
        transport.recv_checkpoint(0, delta=True)
    except CheckpointHealError:
        require(same(live, states.older()) or (refuses_to_send(transport, live) and not modes & 2))
    else:
        promised = _promised(book)
        require(promised is None or alike(live, promised))
    PGTransport(Booked(_honest()), PATIENCE, CPU, lambda: live).recv_checkpoint(0, delta=True)  # type: ignore[arg-type]
    require(same(live, states.many()))


def slot(raw: bytes) -> None:
    """A donor says anything to an agent: its other generation stays, and an honest donor after it fills the slot."""
    modes, messages = (raw[:1] or b"\0")[0], list(scripts.unpack(raw[1:]))
    if modes & 1:
        messages = scripts.signed(messages)
    arena = _arena()
    try:
        taken = _into_slot(arena, Scripted(messages), None)
    except CheckpointHealError:
        require(list(arena.seals()) == [0])
    else:
        _require_sealed(arena, taken)
    offer = offer_in(_honest())
    require(_into_slot(arena, Booked(_honest()), offer.identity) == offer)
    _require_sealed(arena, offer)
    with arena.read(0) as reading:
        require(builders_arena.is_whole(reading))


class _Landed(NamedTuple):
    """What lies in a sink, as a state that can be read."""

    offer: wire.Offer
    sink: StagedSink

    @property
    def schema(self) -> Schema:
        return self.offer.manifest.schema_

    @property
    def values(self) -> tuple[Any, ...]:
        return self.offer.manifest.values

    @property
    def regions(self) -> Sequence[torch.Tensor]:
        return self.sink.regions


class _Bounded(Arena):
    """An arena that takes no more of this machine than a search may."""

    def reserve(self, slot_bytes: int, part_bytes: int = 0) -> None:
        if slot_bytes > 4 * SMALL:
            raise ArenaDoesNotFit(f"{slot_bytes} bytes are more than a search may take")
        super().reserve(slot_bytes, part_bytes)


def _books(raw: bytes, count: int) -> tuple[int, list[list[bytes]]]:
    """A byte of modes, and what each peer says; true to itself, in one mode."""
    modes, told = (raw[:1] or b"\0")[0], [list(scripts.unpack(each)) for each in scripts.unpack(raw[1:])]
    books = (told + [[] for _ in range(count)])[:count]
    return modes, [scripts.signed(book) for book in books] if modes & 1 else books


def _sink(target: Target | None) -> StagedSink:
    return StagedSink(NewState(Meshes(None, "cpu")).require_fit) if target is None else LiveSink(target)


def _peer(rank: int, group: Scripted) -> Peer:
    terms = Terms(time.monotonic() + SECONDS, SECONDS)
    return Peer(rank, Patient(GroupChannel(group, rank), rank), terms, Beside(SECONDS))  # type: ignore[arg-type]


def _is_honest(book: Sequence[bytes]) -> bool:
    with contextlib.suppress(CheckpointHealError):
        return offer_in(book) == offer_in(_honest()) and book[2 : len(_honest())] == _honest()[2:]
    return False


def _believed(book: Sequence[bytes]) -> Identity | None:
    """Of what it offers, where that is an offer true to itself."""
    with contextlib.suppress(CheckpointHealError):
        return RecipientSession(EXPECTED).accept(offer_in(book)).identity
    return None


def _require_true(sent: Sequence[bytes], book: Sequence[bytes]) -> None:
    """After an offer nothing goes but its chunks, or in place of each why there is none, or one byte."""
    with contextlib.suppress(CheckpointHealError):
        offer = offer_in(sent)
        if offer.manifest.schema_.data_bytes <= SMALL:
            for each in sent[2:]:
                is_no_chunk = len(each) == 1 or wire.found_in(each) is not None
                require(is_no_chunk or any(_comes_to(offer, book, at, each) for at in range(len(offer.chunks))))


def _promised(book: Sequence[bytes]) -> object:
    """What the target becomes: what the book says, and what lay there already; None where that is not all."""
    offer = offer_in(book)
    held, said = LiveSource(describe(states.older()), offer.chunk_bytes), dict(enumerate(book[2:]))
    lies, parts = held.digests(), []
    for at, due in enumerate(offer.chunks):
        if digest.digest_bytes(said.get(at, b"")) == due:
            parts.append(said[at])
        elif at < len(lies) and lies[at] == due:
            parts.append(b"".join(part.numpy().tobytes() for part in held.parts(at)))
        else:
            return None
    return state_of(offer, b"".join(parts))


def _comes_to(offer: wire.Offer, book: Sequence[bytes], at: int, kept: bytes) -> bool:
    """Whether this may lie there once the book has said the chunk. What lies between its regions is nobody's."""
    said = book[2 + at] if len(book) > 2 + at else b""
    if 0 < len(said) < len(kept):
        return True  # the rest of its room is as it was
    if digest.digest_bytes(said) != offer.chunks[at]:
        return False
    cleared = torch.frombuffer(bytearray(said), dtype=torch.uint8)
    clear(cleared, offer.cut().columns(at).gaps(cleared.numel()))
    return cleared.numpy().tobytes() == kept


def _into_slot(arena: Arena, group: Scripted, assigned: Identity | None) -> wire.Offer:
    terms = Terms(time.monotonic() + SECONDS, SECONDS)
    sink = SlotSink(arena, "job", MemberId(replica=0), 1)
    try:
        expected = Expected(states.HEAL, states.ATTEMPT, assigned)
        return recipient.take(GroupChannel(group, 1), sink, expected, terms).offer
    finally:
        sink.abandon()


def _require_sealed(arena: Arena, offer: wire.Offer) -> None:
    """The slot that was free holds this state, whole; it is free again then."""
    with arena.read(1) as reading:
        require(reading.seal.step == offer.identity.step and reading.seal.values == offer.manifest.values)
        require(reading.schema == offer.manifest.schema_)
        require(digest.chunk_digests(reading.data, offer.chunk_bytes) == offer.chunks)
    arena.discard(1)


@cache
def _arena() -> Arena:
    """One generation in the first slot, nothing in the other one."""
    schema, arena = builders_arena.a_schema(), _Bounded.create(Path(tempfile.mkdtemp(prefix="fuzz-arena-")))
    arena.reserve(Arena.slot_bytes(schema))
    builders_arena.commit(arena, schema, 7)
    return arena


@cache
def _honest() -> list[bytes]:
    return states.given(states.many())


def _tables(*peers: Sequence[bytes]) -> list[bytes]:
    return [bytes([mode]) + scripts.pack(map(scripts.pack, peers)) for mode in range(4)]


def _slots() -> list[bytes]:
    every = (states.small(), states.many())
    return [bytes([mode]) + scripts.pack(states.given(state)) for state in every for mode in range(2)]


AIMS: Mapping[str, Aim] = {
    "donors": Aim(donors, lambda: _tables(*[_honest()] * DONORS), mutations.table),
    "chain": Aim(chain, lambda: _tables(_honest(), states.asked(states.many())), mutations.table),
    "delta": Aim(delta, lambda: _tables(_honest()), mutations.table),
    "slot": Aim(slot, _slots, mutations.conversation),
}
