"""Every random stream goes on where it was captured, whichever build captured it."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from checkpointheal.manifest import pack, unpack
from checkpointheal.trainer import streams


def draws() -> tuple[Any, ...]:
    return random.random(), random.gauss(), np.random.rand(), np.random.standard_normal(), float(torch.rand(()))


def as_it_is(kept: dict[str, Any]) -> dict[str, Any]:
    return kept


def packed(kept: dict[str, Any]) -> dict[str, Any]:
    return unpack(pack(kept))


def as_of_an_earlier_build(kept: dict[str, Any]) -> dict[str, Any]:
    return packed(kept | {"python": streams.python_position(kept["python"])})


@pytest.mark.parametrize("way", [as_it_is, packed, as_of_an_earlier_build])
@pytest.mark.parametrize("before", [0, 1], ids=["anew", "half of a pair is left"])
def test_streams_go_on_where_they_were(way: Callable[[dict[str, Any]], dict[str, Any]], before: int) -> None:
    random.seed(0)
    np.random.seed(0)
    for _ in range(before):
        random.gauss()
        np.random.standard_normal()
    kept = way(streams.capture())
    first = draws()
    streams.put_back(kept)
    assert draws() == first


def test_pythons_position_is_as_python_has_it() -> None:
    assert streams.python_position(streams.capture()["python"]) == random.getstate()
