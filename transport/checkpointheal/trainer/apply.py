"""How do a generation's bytes become the live state, exactly?

Tensors are written into the existing tensors, so that compiled code and CUDA graphs keep their addresses and nothing is
cast on the way; plain values follow; then the live state is read back and must be the generation. Must not know where
the bytes came from.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import JsonValue
from torch.optim import Optimizer

from checkpointheal import digest
from checkpointheal.contract.base import Digest
from checkpointheal.contract.layout import Schema
from checkpointheal.errors import AppliedStateDiffers, SchemaDiffers
from checkpointheal.manifest import Described, compare, describe, rebuild, write_into
from checkpointheal.trainer.materialise import materialise
from checkpointheal.trainer.parts import Parts, Stateful


def apply(parts: Parts, schema: Schema, values: Sequence[JsonValue], data: memoryview) -> Digest:
    """Load the data section into the live objects; returns their state digest afterwards.

    Raises SchemaDiffers, by name and before anything is written, where the objects cannot hold it, and
    AppliedStateDiffers where they do not hold it afterwards.
    """
    offered = rebuild(schema, values, data)
    for name, part in parts.replicated.items():
        if isinstance(part, Optimizer) and isinstance(state := offered.get(name), Mapping):
            materialise(part, frozenset(state.get("state", ())))
    live = describe(parts.replicated_state())
    if differences := compare(schema, live.schema):
        raise SchemaDiffers(differences)
    write_into(live, data)
    if live.values != tuple(values):
        for name, part in parts.replicated.items():
            _load_values(part, offered[name])
    return _read_back(parts, schema, values)


def state_digest(described: Described) -> Digest:
    """The digest of a live state: the same as its generation's."""
    chunk_digests = [digest.digest_bytes(chunk) for chunk in described.chunks(digest.CHUNK_BYTES)]
    return digest.state_digest(digest.schema_digest(described.schema), described.values, chunk_digests)


def _read_back(parts: Parts, schema: Schema, values: Sequence[JsonValue]) -> Digest:
    live = describe(parts.replicated_state())
    if differences := compare(schema, live.schema):
        raise AppliedStateDiffers(f"loading changed the state's form: {SchemaDiffers(differences)}")
    for path, given, held in zip(schema.value_paths, values, live.values, strict=True):
        if given != held:
            raise AppliedStateDiffers(f"{path} was given {given!r} and holds {held!r} after load_state_dict()")
    return state_digest(live)


def _load_values(part: Stateful, state: Mapping[str, Any]) -> None:
    if isinstance(part, Optimizer):
        _load_optimizer_values(part, state)
    else:
        part.load_state_dict(_own_tensors(state))


def _load_optimizer_values(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Past `Optimizer.load_state_dict`, which casts the state to each parameter's dtype."""
    for group, given in zip(optimizer.param_groups, state["param_groups"], strict=True):
        group.update({k: v for k, v in given.items() if k != "params" and not isinstance(v, torch.Tensor)})
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, given in state["state"].items():
        held = optimizer.state[parameters[index]]
        held.update({k: v for k, v in given.items() if not isinstance(v, torch.Tensor)})


def _own_tensors(node: Any) -> Any:
    """The same tree with tensors of its own: an object may keep what it is given, and the arena is overwritten."""
    if isinstance(node, torch.Tensor):
        return node.clone()
    if isinstance(node, Mapping):
        return type(node)((key, _own_tensors(value)) for key, value in node.items())  # type: ignore[call-arg]
    if isinstance(node, list):
        return [_own_tensors(value) for value in node]
    if type(node) is tuple:
        return tuple(_own_tensors(value) for value in node)
    return node
