"""How do a generation's bytes become the live state, exactly?

Tensors are written into the existing tensors, so that compiled code and CUDA graphs keep their addresses and nothing is
cast on the way; plain values follow; then the live state is read back and must be the generation. Must not know where
the bytes came from.
"""

from collections import OrderedDict
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from checkpointheal import digest
from checkpointheal.contract.base import Digest
from checkpointheal.contract.layout import Schema
from checkpointheal.manifest import Anew, Described, around, compare, describe, values, write_into
from checkpointheal.manifest.rebuild import as_bytes
from checkpointheal.trainer.exact import differing, other_values, require_form, require_none
from checkpointheal.trainer.forming import Given, form, owners, prepare
from checkpointheal.trainer.materialise import is_set_up, place_of
from checkpointheal.trainer.parts import Parts, Stateful, parameters_of

_GROUPED = frozenset(("param_groups", "state"))
"""Keys of torch's own `Optimizer.state_dict()`. One made around several may tell all of theirs by name."""


def apply(parts: Parts, given: Given) -> Digest:
    """Load the data section into the live objects; returns their state digest afterwards.

    Raises SchemaDiffers, by name and before any module is written, where the objects cannot hold it, and
    AppliedStateDiffers where they do not hold it afterwards.
    """
    prepare(parts, given)
    live = describe(parts.replicated_state())
    if differences := compare(given.schema, live.schema):
        live = form(parts, given, live, differences)
    write_into(live, given.data)
    if others := other_values(given.schema, given.values, live):
        _load_values(parts, given, live, owners(parts, others))
    wrong, applied = _read_back(parts, given)
    if wrong:
        # An object may answer state_dict() with copies: only its own load_state_dict() reaches what it really holds.
        copies = Anew(given.schema, given.values, given.data, live.leaves)
        for name in owners(parts, wrong):
            _load(parts.replicated[name], copies.of([name])[name])
        wrong, applied = _read_back(parts, given)
        require_none(wrong, "after load_state_dict() this is not what was given")
    return applied


def state_digest(described: Described) -> Digest:
    """The digest of a live state: the same as its generation's."""
    chunks = [digest.digest_bytes(chunk) for chunk in described.chunks(digest.CHUNK_BYTES)]
    return _digest_of(described.schema, described, chunks)


def _digest_of(schema: Schema, described: Described, chunk_digests: Sequence[Digest]) -> Digest:
    return digest.state_digest(digest.schema_digest(schema), described.values, chunk_digests)


def _read_back(parts: Parts, given: Given) -> tuple[list[str], Digest]:
    """Paths of what the live objects do not hold as it was given, and the digest of what they hold.

    One pass over a device's memory while all is well. Raises AppliedStateDiffers for another form. What a form leaves
    to each script, as whether a parameter trains, is digested as it was given.
    """
    held, section = describe(parts.replicated_state()), as_bytes(given.data)
    require_form(given.schema, held)
    chunk_digests, at, is_same = [], 0, True
    for chunk in held.chunks(digest.CHUNK_BYTES):
        chunk_digests.append(digest.digest_bytes(chunk))
        is_same = is_same and torch.equal(section[at : at + len(chunk)], as_bytes(chunk))
        at += len(chunk)
    if is_same:
        return other_values(given.schema, given.values, held), _digest_of(given.schema, held, chunk_digests)
    regions = (section[each.offset : each.offset + each.nbytes] for each in given.schema.each_region)
    return differing(given.schema, regions, given.values, held), _digest_of(given.schema, held, chunk_digests)


def _load_values(parts: Parts, given: Given, live: Described, names: Sequence[str]) -> None:
    """Into parts whose plain values differ; their tensors are written already.

    A module copies into its own tensors, so it is given these. Anything else may keep what it is given.
    """
    filled = around(live, given.schema.tree, [values.decode(value) for value in given.values])
    copies = Anew(given.schema, given.values, given.data, live.leaves)
    for name in names:
        part = parts.replicated[name]
        if isinstance(part, Optimizer) and is_set_up(part) and filled[name].keys() >= _GROUPED:
            load_optimizer_values(part, filled[name])
        else:
            _load(part, filled[name] if isinstance(part, torch.nn.Module) else copies.of([name])[name])


def _load(part: Stateful, state: Mapping[str, Any]) -> None:
    if isinstance(part, torch.nn.Module):
        part.load_state_dict(as_its_own(part, state), strict=False)  # its private buffers are not in there
    else:
        part.load_state_dict(state)


def as_its_own(module: torch.nn.Module, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the versions of its modules: one that sees none may take a state for an old one, and change what is in it.

    They do not cross, but a state of the live form is of the live versions.
    """
    own, versions = OrderedDict(state), getattr(module.state_dict(), "_metadata", OrderedDict())
    own._metadata = versions  # type: ignore[attr-defined]  # noqa: SLF001 - torch's own way
    return own


def load_optimizer_values(optimizer: Optimizer, filled: Mapping[str, Any]) -> None:
    """What is no tensor, of a state dict that has the live tensors in it.

    Past `Optimizer.load_state_dict`, which casts the state to each parameter's dtype. A tensor inside of a list is a
    part of its value: a copy there would lie on another device than the one before.
    """
    for group, given in zip(optimizer.param_groups, filled["param_groups"], strict=True):
        group.update(_values_of(given, but="params"))
    parameters = parameters_of(optimizer)
    for key, given in filled["state"].items():
        place = place_of(key, parameters)
        held = optimizer.state.get(place)
        if isinstance(held, MutableMapping) and isinstance(given, Mapping):
            held.update(_values_of(given))
        elif place in optimizer.state:  # of one that keeps it elsewhere, its own loading is asked next
            optimizer.state[place] = given


def _values_of(filled: Mapping[str, Any], but: str = "") -> dict[str, Any]:
    return {k: v for k, v in filled.items() if k != but and not isinstance(v, torch.Tensor)}
