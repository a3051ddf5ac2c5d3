"""Which optimizers does one that somebody made around others hold?

Libraries do so past torch's own making: what keeps groups and state may be the one inside. Must not know what is done
with them.
"""

from collections.abc import Iterable, Mapping

from torch.optim import Optimizer


def within(optimizer: Optimizer) -> list[Optimizer]:
    """Itself, and those inside of it at any depth, the outer ones first."""
    found = [optimizer]
    for each in found:
        known = {id(one) for one in found}
        found += [inner for inner in _held_by(each) if id(inner) not in known]
    return found


def is_set_up(optimizer: Optimizer) -> bool:
    """Whether it keeps groups and state as torch's own do: somebody's own that is made around another one may not."""
    return hasattr(optimizer, "param_groups") and hasattr(optimizer, "state")


def keeper_in(optimizer: Optimizer) -> Optimizer | None:
    """The one that keeps groups and state: itself, or the only one inside of it that does; None where several do."""
    keepers = [each for each in within(optimizer) if is_set_up(each)]
    if not keepers or {id(each) for each in keepers} - {id(each) for each in within(keepers[0])}:
        return None
    return keepers[0]


def _held_by(optimizer: Optimizer) -> list[Optimizer]:
    held = {id(each): each for value in vars(optimizer).values() for each in _each_of(value)}
    return [each for each in held.values() if isinstance(each, Optimizer)]


def _each_of(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list | tuple) else (value,)
