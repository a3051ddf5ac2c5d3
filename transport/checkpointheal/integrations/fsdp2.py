"""How is a model healed that `fully_shard()` has cut, though it can be cut only after the state was restored?

A coordinate's state is what lies on its rank: the local shards. They are restored first, as plain tensors, and copied
into model and optimizer once these are there. Meshes and process groups are no part of it: a replica's shards are the
same bytes as its peers', whatever their ranks. Must not know the arena.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from checkpointheal.errors import Misuse, SchemaDiffers
from checkpointheal.manifest import around, compare, describe, values, write_over
from checkpointheal.manifest.wholes import local_of
from checkpointheal.trainer.later import Later
from checkpointheal.trainer.loading import as_its_own, load_optimizer_values
from checkpointheal.trainer.materialise import materialise
from checkpointheal.trainer.own_statistics import buffers_of_this_rank

EXTRA = "_extra_state"
"""How a key ends under which torch has what a module's `get_extra_state()` gives."""


class Shards(Later):
    """What of model and optimizer lies on one rank, as one part: `attach(shards=shards)`, and `fill` later."""

    def fill(self, model: nn.Module, optimizer: Optimizer) -> None:
        """The objects are there; what was restored, if anything was, is copied into them.

        Raises Misuse where they hold what is not the same on every replica, SchemaDiffers or AppliedStateDiffers where
        they cannot hold, or do not hold, what was restored.
        """
        if statistics := buffers_of_this_rank(model):
            raise Misuse(
                f"{min(statistics)} is a rank's own statistics, which FSDP2 has no place for: use SyncBatchNorm"
            )
        local = _Local(model, optimizer)
        if self.held:
            local.load_state_dict(self.held)
        self.become(local)


class _Local:
    """What of both lies on this rank. Tensors share their memory."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self._model, self._optimizer = model, optimizer

    def state_dict(self) -> dict[str, Any]:
        """By the names of the whole."""
        return {"model": _local(dict(self._model.state_dict())), "optimizer": _local(self._optimizer.state_dict())}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """In place, byte for byte; an optimizer that has not made a step gets its state. Raises SchemaDiffers."""
        materialise(self._optimizer, state_dict["optimizer"]["state"])
        live, given = describe(self.state_dict()), describe(state_dict)
        if differences := compare(given.schema, live.schema):
            raise SchemaDiffers(differences)
        write_over(live, given.regions)
        filled = around(live, given.schema.tree, [values.decode(value) for value in given.values])
        load_optimizer_values(self._optimizer, filled["optimizer"])
        if extra := {key: value for key, value in filled["model"].items() if key.endswith(EXTRA)}:
            self._model.load_state_dict(as_its_own(self._model, extra), strict=False)


def _local(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _local(each) for key, each in node.items()}
    return local_of(node) if isinstance(node, torch.Tensor) else node
