"""What is tried, where one peer speaks or one file is read, and what may never come of it?

Each target takes any bytes and returns; what it raises is a fault of ours. An error of our own tree is none, where
nothing has been touched that may not be.
"""

import contextlib
import json
import time
from collections.abc import Mapping

import torch

from checkpointheal import PGTransport, digest, donor, manifest, wire
from checkpointheal.arena import header, seals
from checkpointheal.channel.group import GroupChannel
from checkpointheal.contract.layout import Manifest, Schema
from checkpointheal.ends import Terms
from checkpointheal.ends.leaves import NewState
from checkpointheal.ends.live import LiveSource
from checkpointheal.ends.placements import Meshes
from checkpointheal.ends.target import LenientTarget, Target
from checkpointheal.errors import CheckpointHealError, Misuse, SlotDamaged, UnknownVersion
from checkpointheal.manifest.check import check
from fuzz import crossings, doors, mutations, scripts, states, streamed
from fuzz.outcomes import PATIENCE, SECONDS, SMALL, Aim, read_through, refuses_to_send, require, same, told
from fuzz.peer import Scripted


def frames(raw: bytes) -> None:
    """A prefix and a header: a frame that is written as it was read, or a refusal."""
    with contextlib.suppress(CheckpointHealError):
        prefix = wire.parse_prefix(raw[: wire.PREFIX_BYTES])
        found = wire.parse(prefix, raw[wire.PREFIX_BYTES :])
        again = wire.encode(found)
        require(wire.parse(wire.parse_prefix(again[: wire.PREFIX_BYTES]), again[wire.PREFIX_BYTES :]) == found)


def recipient(raw: bytes) -> None:
    """A donor says anything: what arrives is what its digests promised, or the target is as it was or unfit for use."""
    modes, messages = (raw[:1] or b"\0")[0], list(scripts.unpack(raw[1:]))
    if modes & 1:
        messages = scripts.signed(messages)
    live = None if modes & 2 else states.small()
    transport = PGTransport(
        Scripted(messages), PATIENCE, torch.device("cpu"), live and (lambda: live), strict=not modes & 4
    )  # type: ignore[arg-type]
    try:
        found = transport.recv_checkpoint(0)
    except CheckpointHealError:
        require(live is None or same(live, states.small()) or refuses_to_send(transport, live))
        return
    if live is None:
        promised = told(messages)
        require(promised is None or same(found, promised))


def giving(raw: bytes) -> None:
    """A recipient says anything: it gets chunks that it was offered, and the donor is free."""
    messages = list(scripts.unpack(raw[1:]))
    group = Scripted(messages)
    terms = Terms(time.monotonic() + SECONDS, SECONDS)
    with contextlib.suppress(CheckpointHealError):
        donor.give(GroupChannel(group, 1), LiveSource(_DESCRIBED, states.CHUNK), _OFFER, terms)
    framing = {len(part) for part in scripts.framed(_OFFER)}
    chunks = [each for each in group.sent if len(each) not in framing and not each.startswith(b'{"reason"')]
    require(all(digest.digest_bytes(each) in _OFFER.chunks for each in chunks))
    require(len(chunks) <= len(messages) * len(_OFFER.chunks))


def manifests(raw: bytes) -> None:
    """Any manifest: refused, or a state that stays inside its data section."""
    try:
        offered = Manifest.model_validate_json(raw)
    except ValueError:
        return
    schema = offered.schema_
    with contextlib.suppress(CheckpointHealError):
        check(schema, len(offered.values))
        for end in (NewState(Meshes(None, "cpu")), Target(states.small()), LenientTarget(states.small())):
            with contextlib.suppress(CheckpointHealError):
                needed = end.require_fit(offered)
                if schema.data_bytes <= SMALL:
                    sizes = [nbytes if at in needed else 0 for at, nbytes in enumerate(schema.regions.nbytes)]
                    read_through(end.fill(offered, [torch.zeros(size, dtype=torch.uint8) for size in sizes]))
        if schema.data_bytes <= SMALL:
            data = bytearray(schema.data_bytes)
            manifest.glance(schema, offered.values, data)
            read_through(manifest.rebuild(schema, offered.values, data))


def arena(raw: bytes) -> None:
    """Any file of an arena: its header, its seal, a private part, a schema that is to be laid out."""
    kind, content = (raw[:1] or b"\0")[0] % 4, raw[1:]
    with contextlib.suppress(SlotDamaged, UnknownVersion, Misuse):
        if kind == 0:
            _laid_out(header.parse(content))
        elif kind == 1:
            seals.parse_seal(content, 0)
        elif kind == 3:
            with contextlib.suppress(ValueError):
                _laid_out(Schema.model_validate_json(content))
    if kind == 2:
        with contextlib.suppress(CheckpointHealError):
            state, _ = manifest.unpack_apart(_sealed(content), "parts")
            read_through(state)


def _laid_out(schema: Schema) -> None:
    laid_out = header.lay_out(schema)
    if laid_out.slot_bytes < 1 << 40:
        require(header.parse(laid_out.render(laid_out.slot_bytes)) == schema)


def _sealed(content: bytes) -> bytes:
    """A packed state whose digest is true, and whose head has no check, as older builds wrote it."""
    end = 16 + int.from_bytes(content[8:16], "little")
    try:
        head = json.loads(content[16:end])
        head["data_digest"] = digest.digest_bytes(content[end:])
    except (ValueError, TypeError, RecursionError):
        return content
    written = json.dumps(head).encode()
    return content[:6] + bytes(2) + len(written).to_bytes(8, "little") + written + content[end:]


_DESCRIBED = manifest.describe(states.small())
_OFFER = states.offer_of(_DESCRIBED)


def _every_frame() -> list[bytes]:
    spoken = scripts.framed(_OFFER), states.asked(states.small())
    refuse = scripts.framed(wire.Refuse(reason="BytesDiffer", message="no"))
    parts = [part for each in (*spoken, refuse) for part in each]
    return [prefix + head for prefix, head in zip(parts[::2], parts[1::2], strict=True)]


def _donors() -> list[bytes]:
    every = (states.small(), states.wide(), states.many())
    return [bytes([mode]) + scripts.pack(states.given(state)) for state in every for mode in range(8)]


def _recipients() -> list[bytes]:
    return [b"\0" + scripts.pack(states.asked(states.small()))]


AIMS: Mapping[str, Aim] = {
    "frames": Aim(frames, _every_frame, mutations.frame),
    "recipient": Aim(recipient, _donors, mutations.conversation),
    "donor": Aim(giving, _recipients, mutations.conversation),
    "manifest": Aim(manifests, states.manifests, mutations.document),
    "arena": Aim(arena, states.seals, mutations.file),
    **crossings.AIMS,
    **streamed.AIMS,
    **doors.AIMS,
}
