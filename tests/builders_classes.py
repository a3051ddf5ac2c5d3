"""Classes of a user's own: what may stand in a state dict beside tensors and plain values."""

from collections import OrderedDict, UserDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, Flag, IntEnum, StrEnum
from typing import Any, NamedTuple, Self

import torch

from checkpointheal import register_class
from checkpointheal.manifest import classes


class Colour(Enum):
    RED = 1
    BLUE = "b"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    YES = "yes"


class Rights(Flag):
    READ = 1
    WRITE = 2


class Pair(NamedTuple):
    left: Any
    right: Any


class Triple(NamedTuple):
    left: Any
    right: Any
    last: Any


class Ordered(OrderedDict):
    """A mapping of a class of its own."""


class Row(list):
    """A sequence of a class of its own."""


class Recent(deque):
    """A queue of a class of its own."""


class LastTwo(deque):
    """A queue whose class says how long it may be."""

    def __init__(self, items: Any = ()) -> None:
        super().__init__(items, 2)


class Endless(deque):
    """A queue that does not take how long it may be."""

    def __init__(self, items: Any = ()) -> None:
        super().__init__(items)


class Held(UserDict):
    """A mapping that is no dict."""


@dataclass
class Plan:
    """A dataclass, with a field that its constructor does not take."""

    rate: float
    weight: torch.Tensor
    seen: int = field(default=0, init=False)


@dataclass(frozen=True, slots=True)
class Fixed:
    """A dataclass that nobody may change, with fields that its constructor makes, or leaves for later."""

    rate: float
    weight: torch.Tensor = field(init=False)
    later: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", torch.zeros(2))


class Schedule:
    """An object that only its owner can take apart."""

    def __init__(self, step: int, weight: torch.Tensor) -> None:
        self.step, self.weight = step, weight


class Wrapped(torch.Tensor):
    """A tensor made of two tensors and a constant, as quantised weights are."""

    @staticmethod
    def __new__(cls, values: torch.Tensor, scale: torch.Tensor, block: int) -> Self:
        return torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=torch.float32)

    def __init__(self, values: torch.Tensor, scale: torch.Tensor, block: int) -> None:
        self.values_, self.scale, self.block = values, scale, block

    def __tensor_flatten__(self) -> tuple[list[str], Any]:
        return ["values_", "scale"], {"block": self.block, "kind": Colour.RED, "shape": (1, [2])}

    @classmethod
    def __tensor_unflatten__(cls, inner: Any, context: Any, size: Any, stride: Any) -> "Wrapped":
        return cls(inner["values_"], inner["scale"], context["block"])

    @classmethod
    def __torch_dispatch__(cls, function: Any, kinds: Any, given: Any = (), named: Any = None) -> Any:
        if function in (torch.ops.aten.detach.default, torch.ops.aten.view.default):
            return cls(given[0].values_, given[0].scale, given[0].block)
        raise NotImplementedError(f"{function} of a Wrapped")

    def __repr__(self, **_: Any) -> str:
        return f"Wrapped({self.values_}, {self.scale}, {self.block})"


class Opaque(torch.Tensor):
    """A tensor class that does not say what it is made of."""


def a_wrapped(fill: float = 1.0, block: int = 2) -> Wrapped:
    return Wrapped(torch.full((4, 4), int(fill), dtype=torch.int8), torch.full((2,), fill), block)


@contextmanager
def registered(*kinds: type, **options: Any) -> Iterator[None]:
    """These classes, known for as long as it lasts."""
    before = dict(classes._BY_CLASS), dict(classes._BY_NAME)
    try:
        for kind in kinds:
            register_class(kind, **options)
        yield
    finally:
        for table, kept in zip((classes._BY_CLASS, classes._BY_NAME), before, strict=True):
            table.clear()
            table.update(kept)
