"""Which optimizer has a schedule that nobody named as a part?

Must not know what becomes of either.
"""

from collections.abc import Iterator

from torch.optim import Optimizer

from checkpointheal.trainer.parts import Parts, groups_of, is_scheduled

_MANY = 100


def without_schedule(parts: Parts) -> str | None:
    """The name of one; None: there is none."""
    things = [each for part in (*parts.replicated.values(), *parts.private.values()) for each in _within(part)]
    for name, optimizer in parts.optimizers.items():
        has_one = any(map(is_scheduled, groups_of(optimizer)))
        if has_one and not any(_is_of(each, optimizer) for each in things):
            return name
    return None


def _within(part: object) -> Iterator[object]:
    """The part and, where it is an object around others, these. A list of very many holds something else."""
    yield part
    for each in getattr(part, "__dict__", {}).values():
        yield from each if isinstance(each, list | tuple) and len(each) < _MANY else (each,)


def _is_of(thing: object, optimizer: Optimizer) -> bool:
    """Whether it follows this optimizer, or the one that this one is wrapped around: they share their groups."""
    followed = getattr(thing, "__dict__", {}).get("optimizer")
    return isinstance(followed, Optimizer) and groups_of(followed) is groups_of(optimizer)
