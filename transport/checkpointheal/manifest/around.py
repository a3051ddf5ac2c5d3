"""How does a live state look with other plain values around its own tensors?

Its tensors stay the objects that they are. Must not know what they hold.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pydantic import JsonValue

from checkpointheal.contract.layout import Outer, Sharding
from checkpointheal.manifest.describe import Described
from checkpointheal.manifest.growing import Giver, grow


def around(live: Described, tree: JsonValue, plain: Sequence[Any]) -> Any:
    """The state dict of this tree, which fits the live one's; new containers and objects, but the live tensors."""
    return grow(tree, _Own(live, plain))


class _Own(Giver):
    """The live tensors; what was made of them is there already."""

    def __init__(self, live: Described, plain: Sequence[Any]) -> None:
        leaves = live.leaves
        super().__init__(leaves.tensors, plain, leaves.known)
        self._wholes: Iterator[torch.Tensor] = iter(leaves.wholes)

    def wrapper(self, name: str, context: Any, inner: Any, outer: Outer, path: str) -> Any:
        return next(self._wholes)

    def distributed(self, local: Any, outer: Outer, path: str) -> Any:
        return next(self._wholes)

    def sharded(self, shards: list[Any], sharding: Sharding, path: str) -> Any:
        return next(self._wholes)
