"""Why can this be no part, and what would the user write instead?

Must not know what a part is for.
"""

from collections.abc import Mapping

import torch


def unfit(name: str, part: object) -> str | None:
    """One sentence; None: it can be one."""
    if isinstance(part, type):
        return f"{name} is the class {part.__name__}: give an object of it"
    if part is None:
        return f"{name} is None: leave it out"
    if all(callable(getattr(part, each, None)) for each in ("state_dict", "load_state_dict")):
        return None
    helps = _helps(part)
    told = f"{name} is a {type(part).__name__} without state_dict() and load_state_dict()"
    return f"{told}: {helps}" if helps else told


def _helps(part: object) -> str:
    if isinstance(part, list | tuple):
        return "name each of them, or make modules one nn.ModuleList"
    if isinstance(part, Mapping):
        return "give the object itself"
    if isinstance(part, torch.Generator):
        return "wrap it in an object whose two methods are its get_state() and set_state()"
    return ""
