"""How do a generation's bytes become the live state, exactly?

Tensors are written into the existing tensors, so that compiled code and CUDA graphs keep their addresses and nothing is
cast on the way; plain values follow, and whoever does more than to copy is told; then the live state is read back and
must be the generation. Must not know where the bytes came from.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import torch
from torch.optim import Optimizer

from checkpointheal import digest
from checkpointheal.contract.base import Digest
from checkpointheal.contract.layout import Schema
from checkpointheal.manifest import Anew, Described, around, compare, describe, owner_of, values, write_into
from checkpointheal.manifest.rebuild import as_bytes
from checkpointheal.trainer.exact import differing, other_values, require_form, require_none
from checkpointheal.trainer.forming import Given, form, materialise_all, owners, prepare, require_loadable
from checkpointheal.trainer.later import Later
from checkpointheal.trainer.loading import (
    GROUPED,
    does_more_than_copy,
    keeper_of,
    load,
    load_optimizer_values,
    tell_loaded,
)
from checkpointheal.trainer.materialise import is_nothing
from checkpointheal.trainer.parts import Parts, Stateful
from checkpointheal.trainer.within import is_set_up

_How = Literal["all", "copies", "values", "not"]
"""A module copies into its own tensors, so it is told all of them, and so is who is only told; of anything else that
differs copies, for it may keep what it is given, or, of an optimizer whose tensors are written, its values alone."""


def apply(parts: Parts, given: Given, begins: Callable[[Described], None] = lambda live: None) -> Digest:
    """Load the data section into the live objects; returns their state digest afterwards.

    `begins` hears of the live state before anything is loaded or written. Raises SchemaDiffers, by name and before any
    module is written, where the objects cannot hold it, and AppliedStateDiffers where they do not hold it afterwards.
    """
    prepare(parts, given)
    live = describe(parts.replicated_state())
    differences = compare(given.schema, live.schema)
    require_loadable(parts, differences)
    begins(live)
    loaded = owners(parts, [each.path for each in differences])
    if differences:
        live = form(parts, given, live, differences)
    write_into(live, given.data)
    _tell(parts, given, live, loaded)
    wrong, applied = _read_back(parts, given)
    if wrong:
        # An object may answer state_dict() with copies: only its own load_state_dict() reaches what it really holds.
        _load_copies(parts, given, live, owners(parts, wrong))
        wrong, applied = _read_back(parts, given)
        require_none(wrong, "after load_state_dict() this is not what was given")
    return applied


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
    return differing(given.schema, given.regions, given.values, held), _digest_of(given.schema, held, chunk_digests)


def _tell(parts: Parts, given: Given, live: Described, loaded: Collection[str]) -> None:
    """Each part that its tensors are written, and what else it holds now. Those that were `loaded` know."""
    others, filled = other_values(given.schema, given.values, live), _filled(given, live)
    copies, optimizers = Anew(given.schema, given.values, given.data, live.leaves), parts.optimizers
    told: dict[str, _How] = {}
    for name, part in parts.replicated.items():
        told[name] = how = _how_to_tell(name, part, filled[name], others, loaded)
        if how == "values":
            load_optimizer_values(optimizers[name], filled[name])
        elif how != "not":
            load(part, copies.of([name])[name] if how == "copies" else filled[name])
    if cast := [name for name in optimizers if told[name] == "copies"]:
        _write_again(parts, given, cast)
    for optimizer in optimizers.values():
        tell_loaded(optimizer)


def _how_to_tell(
    name: str, part: Stateful, state: Mapping[str, Any], others: Collection[str], loaded: Collection[str]
) -> _How:
    """`others`: paths of values that differ from what is given. `state`: that one, around the live tensors."""
    differs = any(owner_of(path, [name]) for path in others)
    if isinstance(part, torch.nn.Module):
        return "all" if differs or does_more_than_copy(part) else "not"
    if differs:
        return "values" if _is_grouped(part, state) and not _has_own_value(name, others) else "copies"
    knows = name in loaded or isinstance(part, Optimizer | Later) or is_nothing(state)
    return "not" if knows else "all"


def _load_copies(parts: Parts, given: Given, live: Described, names: Sequence[str]) -> None:
    copies = Anew(given.schema, given.values, given.data, live.leaves)
    for name in names:
        load(parts.replicated[name], copies.of([name])[name])
    _write_again(parts, given, names)


def _write_again(parts: Parts, given: Given, names: Sequence[str]) -> None:
    """What their own loading has cast, or a hook of it has changed. Raises AppliedStateDiffers for another form."""
    materialise_all(parts, given)
    live = describe(parts.replicated_state())
    require_form(given.schema, live)
    write_into(live, given.data)
    filled = _filled(given, live)
    for name, optimizer in parts.optimizers.items():
        if name in names and (keeper := keeper_of(optimizer, filled[name])) is not None:
            load_optimizer_values(keeper, filled[name])


def _filled(given: Given, live: Described) -> dict[str, Any]:
    """The live state around its own tensors, with the values that were given."""
    whole: dict[str, Any] = around(live, given.schema.tree, [values.decode(value) for value in given.values])
    return whole


def _is_grouped(part: object, state: Mapping[str, Any]) -> bool:
    return isinstance(part, Optimizer) and is_set_up(part) and state.keys() >= GROUPED


def _has_own_value(name: str, paths: Collection[str]) -> bool:
    """Whether one of these is the part's, and neither of its groups nor of its state."""
    torchs = [f"{name}.{key}" for key in GROUPED]
    return any(owner_of(path, [name]) and owner_of(path, torchs) is None for path in paths)
