"""How does a private part take its own state back, to the bit where it can be asked for it?

Torch's own modules and optimizers are read back. Any other loads by itself and is not asked: the state of a loader that
was just loaded is that of a pass which it would begin for it. Must not know where the state was kept.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from checkpointheal.manifest import Anew, compare, describe, write_into, write_out
from checkpointheal.trainer.exact import differing
from checkpointheal.trainer.forming import Given
from checkpointheal.trainer.loading import as_its_own, keeper_of, load_optimizer_values
from checkpointheal.trainer.materialise import widen
from checkpointheal.trainer.parts import Stateful


def load_exactly(part: Stateful, kept: Any) -> Sequence[str]:
    """Paths, inside of its state, of what it does not hold as it was kept; none of what cannot be asked.

    By its own loading, with no step: what torch's own has cast is written over afterwards.
    """
    thing: object = part
    if not isinstance(thing, nn.Module | Optimizer) or not isinstance(kept, Mapping):
        part.load_state_dict(kept)
        return ()
    given = _noted(kept)
    part.load_state_dict(as_its_own(thing, kept) if isinstance(thing, nn.Module) else kept)
    if isinstance(thing, Optimizer):
        _write_over(thing, given)
    return _other(part, given)


def _noted(kept: Mapping[str, Any]) -> Given:
    """In memory of its own: whoever loads it may keep it, and change it."""
    described = describe(dict(kept))
    data = bytearray(described.schema.data_bytes)
    write_out(described, data)
    return Given(described.schema, described.values, memoryview(data))


def _write_over(optimizer: Optimizer, given: Given) -> None:
    beside = describe(dict(optimizer.state_dict())).leaves
    kept = Anew(given.schema, given.values, given.data, beside).whole()
    if (keeper := keeper_of(optimizer, kept)) is None:
        return
    widen(keeper, kept["state"])
    load_optimizer_values(keeper, kept)
    live = describe(dict(optimizer.state_dict()))
    if not compare(given.schema, live.schema):
        write_into(live, given.data)


def _other(part: Stateful, given: Given) -> Sequence[str]:
    held = describe(dict(part.state_dict()))
    if differences := compare(given.schema, held.schema):
        return [each.path for each in differences]
    return differing(given.schema, given.regions, given.values, held)
