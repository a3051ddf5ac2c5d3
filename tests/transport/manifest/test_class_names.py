"""An object comes back as the class that it was: the name of two classes is nobody's."""

from collections import namedtuple
from enum import Enum

import pytest
import torch

import builders_classes as a
from checkpointheal.errors import UnsupportedLeaf
from checkpointheal.manifest import Anew, describe


def twins() -> tuple[type, type]:
    """Two classes of one qualified name, as two functions of one module may make them."""
    return namedtuple("Twin", "a b"), namedtuple("Twin", "a b")  # type: ignore[return-value]  # noqa: PYI024


def test_two_classes_of_one_name_are_refused_by_name_wherever_the_second_one_stands() -> None:
    one, other = twins()
    sentence = (
        r"y is a Twin, which cannot cross: its name .*Twin' is another class's, too: .*register_class\(Twin, name="
    )
    with pytest.raises(UnsupportedLeaf, match=sentence):
        describe({"x": one(1, 2), "y": other(1, 2)})
    with a.registered(one), pytest.raises(UnsupportedLeaf, match=sentence):
        describe({"y": other(1, 2)})
    red, blue = (Enum("Colour", "RED", module="m", qualname="m.Colour") for _ in range(2))
    with pytest.raises(UnsupportedLeaf, match=r"its key <Colour.RED: 1>\) is a Colour.*another class's"):
        describe({"x": red.RED, "y": {blue.RED: 1}})
    with a.registered(other, name="second"):
        described = describe({"x": one(1, 2), "y": other(1, 2)})
        back = Anew(described.schema, described.values, b"", described.leaves).whole()
    assert (type(back["x"]), type(back["y"])) == (one, other)


def test_two_tensor_classes_of_one_name_are_refused() -> None:
    twin = type("Wrapped", (a.Wrapped,), {"__module__": a.Wrapped.__module__, "__qualname__": "Wrapped"})
    with pytest.raises(UnsupportedLeaf, match=r"v is a Wrapped.* is another class's, too"):
        describe({"w": a.a_wrapped(), "v": twin(torch.ones(2), torch.ones(1), 1)})
