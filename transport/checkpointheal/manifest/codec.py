"""How is an object of one class told by what a state may hold? Must not know any class."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Codec:
    """One class: the name by which it crosses, and its parts, which may be whatever a state may hold."""

    name: str
    kind: type
    take_apart: Callable[[Any], Any] | None = None
    """None, both: a tensor class that goes through `__tensor_flatten__`."""
    put_together: Callable[[Any], Any] | None = None
    may_read: bool = True
    """Whether putting it together may depend on what the tensors among its parts hold."""
    is_value: bool = False
    """Whether its parts are one plain value, unless they are a list: then the schema is the same whatever it holds, and
    it may be a key."""


Known = Mapping[str, Codec]
"""Classes by name: those that a target holds."""
