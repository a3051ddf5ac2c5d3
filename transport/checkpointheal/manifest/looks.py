"""What do the tensors of a state look like, and where does each lie?

Thousands of tensors have a few forms: each form is worked out once, and a tensor is told by the number of its form and
its place in memory. Must not know trees, nor who shares memory with whom.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from checkpointheal.contract.layout import Form, Kind
from checkpointheal.errors import UnsupportedLeaf
from checkpointheal.manifest import wholes
from checkpointheal.manifest.dtypes import ELEMENTS, Element, name_of
from checkpointheal.manifest.reach import reach


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
    starts: list[int] = field(default_factory=list)
    """First byte, from the start of the storage."""
    bases: list[int] = field(default_factory=list)
    """Addresses of the storages."""
    storages: list[torch.UntypedStorage] = field(default_factory=list, compare=False)
    devices: set[torch.device] = field(default_factory=set)


def look(paths: Sequence[str], tensors: Sequence[torch.Tensor]) -> Seen:
    """Look at each. Asked of every tensor at every commit: kept cheap.

    Raises UnsupportedLeaf that names path and type of one that cannot cross.
    """
    seen, numbers = Seen(), dict[Any, int]()
    for path, tensor in zip(paths, tensors, strict=True):
        try:
            local = tensor if type(tensor) in wholes.PLAIN else _local(path, tensor)
            key = _key(tensor, local)
            number = numbers.get(key)
            if number is None:
                number = numbers[key] = _number(seen, path, tensor)
            storage = local.untyped_storage()
            _, element, reaches = seen.looks[number]
            start = int(local.storage_offset()) * element.size
            if start + reaches > storage.nbytes():
                raise UnsupportedLeaf(path, f"{wholes.told(local)} (its memory was given back)")
            seen.bases.append(storage.data_ptr())
        except RuntimeError as error:  # a nest of tensors, or one without memory
            raise _refusal(path, tensor, error) from error
        seen.of.append(number)
        seen.starts.append(start)
        seen.storages.append(storage)
    return seen


def _key(tensor: torch.Tensor, local: torch.Tensor) -> Any:
    """What tells apart the looks of two tensors."""
    seen = (
        type(tensor), local.dtype, local.shape, local.stride(), tensor.requires_grad, local.device, local.layout,
        local.is_conj(), local.is_neg(),
    )  # fmt: skip
    return seen if tensor is local else (seen, *_laid_out(tensor))


def _laid_out(tensor: Any) -> Any:
    return tensor.placements, tensor.device_mesh, tensor.shape, tensor.stride()


def _number(seen: Seen, path: str, tensor: torch.Tensor) -> int:
    """Forms are numbered by the first tensor that has them, on whatever device."""
    local = _local(path, tensor)
    seen.devices.add(local.device)
    form = Form(
        dtype=name_of(local.dtype),
        shape=tuple(local.shape),
        stride=tuple(local.stride()),
        kind=_kind(tensor),
        requires_grad=tensor.requires_grad,
        placement=wholes.placement_of(tensor) if wholes.is_dtensor(tensor) else None,
    )
    number = seen.numbers.setdefault(form, len(seen.looks))
    if number == len(seen.looks):
        seen.looks.append(Look(form, ELEMENTS[local.dtype], reach(form)))
    return number


def _local(path: str, tensor: torch.Tensor) -> torch.Tensor:
    local = wholes.local_of(tensor)
    if local.layout != torch.strided or local.is_meta or local.is_quantized or local.dtype not in ELEMENTS:
        raise UnsupportedLeaf(path, wholes.told(local))
    if local.is_conj() or local.is_neg():
        # Its memory holds other numbers than it shows.
        raise UnsupportedLeaf(
            path, "tensor that is conjugated or negated when it is read", "resolve_conj() or resolve_neg()"
        )
    return local


def _refusal(path: str, tensor: torch.Tensor, error: RuntimeError) -> UnsupportedLeaf:
    if tensor.layout != torch.strided:
        return UnsupportedLeaf(path, wholes.told(tensor))
    return UnsupportedLeaf(path, f"{wholes.told(tensor)} ({str(error)[:80]})")


def _kind(tensor: torch.Tensor) -> Kind:
    if isinstance(tensor, torch.nn.Parameter):
        return "dtensor parameter" if wholes.is_dtensor(tensor) else "parameter"
    return "dtensor" if wholes.is_dtensor(tensor) else "tensor"
