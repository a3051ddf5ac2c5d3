"""Why can this be no part, or not a safe one, and what would the user write instead?

Others' classes are known by their names: nobody imports a library for this. Must not know what a part is for.
"""

from collections.abc import Mapping

import torch
from torch.utils.data import DataLoader, Sampler

from checkpointheal.errors import Misuse

_POSITION = (
    'iterate torchdata\'s StatefulDataLoader, and name that, as in private={"data": Position(loader)}, where Position '
    "is checkpointheal.integrations.torchdata's"
)


def unfit(name: str, part: object) -> str | None:
    """One sentence; None: it can be one."""
    if isinstance(part, type):
        return f"{name} is the class {part.__name__}: give an object of it"
    if part is None:
        return f"{name} is None: leave it out"
    if (told := sharded(name, part)) is not None:
        return told
    if all(callable(getattr(part, each, None)) for each in ("state_dict", "load_state_dict")):
        return None
    helps = _helps(part)
    told = f"{name} is a {type(part).__name__} without state_dict() and load_state_dict()"
    return f"{told}: {helps}" if helps else told


def sharded(name: str, optimizer: object) -> str | None:
    """One sentence where each rank has another part of it; None: as far as its class tells, all have the same."""
    if not _is_kind_of(optimizer, "torch", "ZeroRedundancyOptimizer"):
        return None
    return (
        f"{name} is a {type(optimizer).__name__}: each rank has a shard of its own, which no peer could give it: let "
        "every rank have the whole optimizer, or cut model and optimizer by fully_shard within each of two replicas "
        "(docs/integrations/fsdp2.md)"
    )


def require_whole(name: str, optimizer: object) -> None:
    """Raises Misuse where it is sharded; for who is given an optimizer behind `attach()`."""
    if (told := sharded(name, optimizer)) is not None:
        raise Misuse(told)


def read_ahead(name: str, part: object) -> str | None:
    """One sentence where it may be ahead of the loop; None: nothing tells so."""
    if not (isinstance(part, Sampler) and _is_kind_of(part, "torchdata")):
        return None
    return (
        f"{name} is a {type(part).__name__} without its loader: workers draw from it ahead of the loop, so it is right "
        f"only with num_workers=0, and with more batches are skipped after a heal; {_POSITION}"
    )


def _helps(part: object) -> str:
    if isinstance(part, list | tuple):
        return "name each of them, or make modules one nn.ModuleList"
    if isinstance(part, Mapping):
        return "give the object itself"
    if isinstance(part, torch.Generator):
        return "wrap it in an object whose two methods are its get_state() and set_state()"
    if isinstance(part, Sampler | DataLoader):
        return _POSITION
    return ""


def _is_kind_of(thing: object, library: str, name: str | None = None) -> bool:
    """Whether its class or one that it is made of is that library's; `name`: that one."""
    return any(
        each.__module__.partition(".")[0] == library and name in (None, each.__name__) for each in type(thing).__mro__
    )
