"""Which statistics of BatchNorm and InstanceNorm has a rank to itself, and by which keys does `state_dict()` tell them?

Wrappers leave their own names out of the keys: what lies where a statistic does is one, by whatever key. A copy is
known by its name alone. Must not know what becomes of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _NormBase
from torch.nn.parameter import is_lazy

from checkpointheal.manifest.wholes import is_leaf, local_of

_WRAPPERS = frozenset(("_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_orig_mod"))
"""By which torch's wrappers call what they wrap."""


@dataclass(frozen=True)
class Statistics:
    """Of one module, for this rank alone."""

    keys: Mapping[str, str]
    """Keys of its state dict, each with the name of the buffer that it tells."""
    untold: tuple[str, ...] = ()
    """Names of buffers that no key tells, though they are persistent."""


def statistics_of(part: object) -> Statistics:
    """None of what is no module. Its state dict is asked for where there are any: it may be costly."""
    own = buffers_of_this_rank(part) if isinstance(part, nn.Module) else {}
    if not isinstance(part, nn.Module) or not own:
        return Statistics({})
    named = {_bare(name): name for name in own}
    places = {place: name for name, buffer in own.items() if (place := _place(buffer)) is not None}
    keys = {
        key: name
        for key, value in part.state_dict().items()
        if (name := named.get(_bare(key)) or places.get(_place(value))) is not None
    }
    told = {_place(own[name]) for name in keys.values()}
    left = own.keys() - {*keys.values(), *_not_persistent(part)}
    return Statistics(keys, tuple(sorted(name for name in left if _place(own[name]) not in told)))


def buffers_of_this_rank(module: nn.Module) -> dict[str, torch.Tensor]:
    """By each name that they have."""
    return {
        _join(prefix, name): buffer
        for prefix, norm in _norms(module)
        for name, buffer in norm.named_buffers(recurse=False)
    }


def _norms(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for prefix, child in module.named_modules(remove_duplicate=False):
        if isinstance(child, _NormBase) and not isinstance(child, SyncBatchNorm):
            yield prefix, child


def _not_persistent(module: nn.Module) -> Iterator[str]:
    for prefix, norm in _norms(module):
        for name in norm._non_persistent_buffers_set:  # noqa: SLF001 - torch has no other word for it
            yield _join(prefix, name)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _bare(name: str) -> str:
    """Without the names that wrappers put into it."""
    return ".".join(word for word in name.split(".") if word not in _WRAPPERS)


def _place(value: Any) -> Any:
    """Where it lies and how; None of what is no view of memory."""
    if not isinstance(value, torch.Tensor) or is_lazy(value) or not is_leaf(value) or value.layout != torch.strided:
        return None
    local = local_of(value)
    storage = local.untyped_storage()._cdata  # noqa: SLF001 - an address of memory is no name: many have none
    return storage, local.storage_offset(), local.shape, local.stride()
