"""What do the tensors of a state look like, and where does each lie?

Thousands of tensors have a few forms: each form is worked out once, and a tensor is told by the number of its form and
its place in memory. Must not know trees, nor who shares memory with whom.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from checkpointheal.contract.layout import Form, Kind
from checkpointheal.errors import UnsupportedLeaf
from checkpointheal.manifest import wholes
from checkpointheal.manifest.dtypes import ELEMENTS, Element, name_of
from checkpointheal.manifest.reach import reach

Column = npt.NDArray[np.int64]


class Look(NamedTuple):
    """What all tensors of one form have in common."""

    form: Form
    element: Element
    reach: int
    """Bytes from the first element to behind the last one; 0 without elements."""


@dataclass
class Seen:
    """Tensors in columns, in the order of their numbers."""

    looks: list[Look] = field(default_factory=list)
    numbers: dict[Form, int] = field(default_factory=dict)
    of: list[int] = field(default_factory=list)
    """The number of each one's look."""
    skips: list[int] = field(default_factory=list)
    """Elements of the storage before each one's first."""
    bases: list[int] = field(default_factory=list)
    """Addresses of the storages."""
    storages: list[torch.UntypedStorage] = field(default_factory=list, compare=False)
    devices: set[torch.device] = field(default_factory=set)

    def starts(self) -> Column:
        """First byte of each, from the start of its storage."""
        sizes = np.array([each.element.size for each in self.looks], dtype=np.int64)
        return np.array(self.skips, dtype=np.int64) * sizes[self.of]

    def reaches(self) -> Column:
        """Bytes of each, from its first element to behind its last one."""
        return np.array([each.reach for each in self.looks], dtype=np.int64)[self.of]


def look(paths: Sequence[str], tensors: Sequence[torch.Tensor]) -> Seen:
    """Look at each. Asked of every tensor at every commit: kept cheap.

    Raises UnsupportedLeaf that names path and type of one that cannot cross.
    """
    seen = Seen()
    known: dict[Any, int] = {}
    for path, tensor in zip(paths, tensors, strict=True):
        try:
            local = tensor if type(tensor) in wholes.PLAIN else _local(path, tensor)
            key = (
                type(tensor), local.dtype, local.shape, local.stride(), tensor.requires_grad, local.device,
                local.layout, local.is_conj(), local.is_neg(), None if tensor is local else _laid_out(tensor),
            )  # fmt: skip
            number = known.get(key)
            if number is None:
                number = known[key] = _number(seen, path, tensor)
            storage = local.untyped_storage()
            seen.bases.append(storage.data_ptr())
            seen.skips.append(local.storage_offset())  # type: ignore[arg-type]
        except RuntimeError as error:  # a nest of tensors, or one without memory
            raise _refusal(path, tensor, error) from error
        seen.of.append(number)
        seen.storages.append(storage)
    _require_memory(paths, tensors, seen)
    return seen


def _require_memory(paths: Sequence[str], tensors: Sequence[torch.Tensor], seen: Seen) -> None:
    there = np.array([storage.nbytes() for storage in seen.storages], dtype=np.int64)
    for at in map(int, np.flatnonzero(seen.starts() + seen.reaches() > there)):
        raise UnsupportedLeaf(
            paths[at],
            f"{wholes.told(tensors[at])} (its memory was given back)",
            "give its storage back with resize_(), or leave it out",
        )


def _laid_out(tensor: Any) -> Any:
    """How a DTensor's whole is cut; what it takes to tell two apart, and no more."""
    return tensor.placements, tensor.device_mesh, tensor.shape, tensor.stride()


def _number(seen: Seen, path: str, tensor: torch.Tensor) -> int:
    """Forms are numbered by the first tensor that has them, on whatever device."""
    local = _local(path, tensor)
    seen.devices.add(local.device)
    form = form_of(tensor)
    number = seen.numbers.setdefault(form, len(seen.looks))
    if number == len(seen.looks):
        seen.looks.append(Look(form, ELEMENTS[local.dtype], reach(form)))
    return number


def form_of(tensor: torch.Tensor) -> Form:
    """Of one that can cross."""
    local = wholes.local_of(tensor)
    return Form(
        dtype=name_of(local.dtype),
        shape=tuple(local.shape),
        stride=tuple(local.stride()),
        kind=_kind(tensor),
        requires_grad=tensor.requires_grad,
        placement=wholes.placement_of(tensor) if wholes.is_dtensor(tensor) else None,
    )


def _local(path: str, tensor: torch.Tensor) -> torch.Tensor:
    local = wholes.local_of(tensor)
    if local.layout != torch.strided or local.is_meta or local.is_quantized or local.dtype not in ELEMENTS:
        raise _unfit(path, local, wholes.told(local))
    if local.is_conj() or local.is_neg():
        # Its memory holds other numbers than it shows.
        raise UnsupportedLeaf(
            path, "tensor that is conjugated or negated when it is read", "resolve_conj() or resolve_neg()"
        )
    return local


def _refusal(path: str, tensor: torch.Tensor, error: RuntimeError) -> UnsupportedLeaf:
    if tensor.layout != torch.strided:
        return _unfit(path, tensor, wholes.told(tensor))
    told = str(error)[:80] if tensor.is_nested else "it has no memory"
    return _unfit(path, tensor, f"{wholes.told(tensor)} ({told})")


def _unfit(path: str, tensor: torch.Tensor, told: str) -> UnsupportedLeaf:
    """No class is to be registered for torch's own tensor."""
    return UnsupportedLeaf(path, told, wholes.helps(tensor) or UnsupportedLeaf.REMEDY)


def _kind(tensor: torch.Tensor) -> Kind:
    if isinstance(tensor, torch.nn.Parameter):
        return "dtensor parameter" if wholes.is_dtensor(tensor) else "parameter"
    return "dtensor" if wholes.is_dtensor(tensor) else "tensor"
