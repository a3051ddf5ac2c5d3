"""How does a data section become a state dict that its owner may keep?

In memory of its own, one storage for each region: what shared one shares one again, strides and all, and what was one
tensor by several names is one again. Beside a live state it is on that one's devices, a DTensor where the live tensor
of its path is one, and tied to what stays there: the very tensor, where there is one. Must not know whose state it is.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from pydantic import JsonValue

from checkpointheal.contract.layout import Outer, Placement, Schema, TensorEntry
from checkpointheal.errors import BadFrame, CheckpointHealError, UnknownClass
from checkpointheal.manifest import values as plain
from checkpointheal.manifest.check import check
from checkpointheal.manifest.codec import Known
from checkpointheal.manifest.growing import Giver, as_outer, grow
from checkpointheal.manifest.memories import Memories
from checkpointheal.manifest.paths import owner_of
from checkpointheal.manifest.rebuild import NOBODY, Data, section_of, view_of
from checkpointheal.manifest.tree import Leaves
from checkpointheal.manifest.wholes import is_dtensor, is_laid_out, local_of

NOTHING = Leaves()
"""Of no live state."""


class Anew:
    """A state as it was kept, to be made as often as it is asked for, each time in other memory.

    `beside`: what a live state holds, whose classes are known besides those that were registered. Raises BadFrame where
    schema, values and data do not add up.
    """

    def __init__(self, schema: Schema, values: Sequence[JsonValue], data: Data, beside: Leaves = NOTHING) -> None:
        check(schema, len(values))
        self._schema, self._section = schema, section_of(schema, data)
        self._values, self._known = values, beside.known or NOBODY
        self._alike = _by_path(beside)

    def whole(self) -> Any:
        """All of it. Raises UnknownClass."""
        return grow(self._schema.tree, self._giver())

    def of(self, names: Collection[str]) -> dict[str, Any]:
        """Of a mapping, what stands under these of its outermost keys, and no memory for the others.

        What shared memory with one of the others is made in that of the live one, and holds what that holds.
        """
        chosen = [pair for pair in _pairs_of(self._schema.tree) if isinstance(pair[0], str) and pair[0] in names]
        memories = Memories(self._schema, self._section)
        for entry in self._staying(names):
            memories.lie_with(entry, self._alike[entry.path])
        made: dict[str, Any] = grow({"d": chosen}, self._giver(memories))
        return made

    def apart(self, branch: str) -> tuple[dict[str, Any], dict[str, CheckpointHealError]]:
        """All of a mapping of mappings, but what stands under `branch` entry by entry.

        Besides, by its key, why one of these could not be made: UnknownClass, ClassDiffers or BadFrame.
        """
        giver, pairs = self._giver(), _pairs_of(self._schema.tree)
        state: dict[str, Any] = grow({"d": [pair for pair in pairs if pair[0] != branch]}, giver)
        left: dict[str, CheckpointHealError] = {}
        state[branch] = {}
        for pair in _pairs_of(next((node for key, node in pairs if key == branch), {"d": []})):
            try:
                state[branch].update(grow({"d": [pair]}, giver))
            except (UnknownClass, BadFrame) as error:
                left[str(pair[0])] = error
        return state, left

    def _staying(self, names: Collection[str]) -> list[TensorEntry]:
        """Of live tensors of others, those that lie where one of these does."""
        mine = [owner_of(entry.path, names) is not None for entry in self._schema.each_tensor]
        regions = {entry.region for entry, is_mine in zip(self._schema.each_tensor, mine, strict=True) if is_mine}
        others = (entry for entry, is_mine in zip(self._schema.each_tensor, mine, strict=True) if not is_mine)
        return [entry for entry in others if entry.region in regions and entry.path in self._alike]

    def _giver(self, memories: Memories | None = None) -> "_Own":
        memories = memories or Memories(self._schema, self._section)
        return _Own(memories, self._values, self._known, self._alike)


def _by_path(beside: Leaves) -> dict[str, torch.Tensor]:
    wholes = zip(beside.whole_paths, beside.wholes, strict=True)
    leaves = zip(beside.paths, beside.tensors, strict=True)
    return {**dict(leaves), **{path: tensor for path, tensor in wholes if is_dtensor(tensor)}}


def _pairs_of(tree: Any) -> list[Any]:
    ((tag, pairs),) = tree.items()
    if tag != "d":
        raise BadFrame("the state is no mapping of mappings")
    return list(pairs)


class _Own(Giver):
    """Tensors in that memory; `alike`: the live ones, by their paths."""

    def __init__(
        self, memories: Memories, values: Sequence[JsonValue], known: Known, alike: Mapping[str, torch.Tensor]
    ) -> None:
        super().__init__(memories.entries, values, known)
        self._memories, self._alike = memories, alike

    def value(self, index: int) -> Any:
        return plain.decode(self._plain[index])

    def tensor(self, index: int) -> Any:
        entry: TensorEntry = self._tensors[index]
        alike = self._alike.get(entry.path)
        tensor = self._memories.there(entry, alike)
        if tensor is None:
            tensor = self._make(entry, alike)
            self._memories.keep(entry, alike, tensor)
        return tensor

    def _make(self, entry: TensorEntry, alike: torch.Tensor | None) -> torch.Tensor:
        device = torch.device("cpu") if alike is None else local_of(alike).device
        local = view_of(entry, self._memories.of(entry.region, device), entry.offset)
        if entry.kind == "tensor":
            return local
        outer = Outer(
            shape=entry.shape,
            stride=entry.stride,
            requires_grad=entry.requires_grad,
            parameter=entry.kind.endswith("parameter"),
            placement=entry.placement,
        )
        return as_outer(_distributed(local.detach(), entry.placement, alike), outer)

    def run(self, first: int, count: int) -> Sequence[Any]:
        return [self.tensor(first + at) for at in range(len(super().run(first, count)))]

    def distributed(self, local: Any, outer: Outer, path: str) -> Any:
        whole = _distributed(local, outer.placement, self._alike.get(path))
        return local if whole is local else as_outer(whole, outer)


def _distributed(local: torch.Tensor, placed: Placement | None, alike: Any) -> torch.Tensor:
    """A DTensor, where the live tensor is one that is laid out so: a mesh is nothing that crosses."""
    if placed is None or alike is None or not is_laid_out(alike, placed):
        return local
    made: torch.Tensor = type(alike).from_local(
        local,
        alike.device_mesh,
        alike.placements,
        run_check=False,
        shape=torch.Size(placed.global_shape),
        stride=placed.global_stride,
    )
    return made
