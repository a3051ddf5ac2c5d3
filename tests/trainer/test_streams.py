"""Every random stream goes on where it was captured, whichever build captured it."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from builders_memory import unpacked
from checkpointheal.errors import Misuse
from checkpointheal.manifest import pack
from checkpointheal.trainer import streams


def draws() -> tuple[Any, ...]:
    return random.random(), random.gauss(), np.random.rand(), np.random.standard_normal(), float(torch.rand(()))


def as_it_is(kept: dict[str, Any]) -> dict[str, Any]:
    return kept


def packed(kept: dict[str, Any]) -> dict[str, Any]:
    return unpacked(pack(kept))


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


MT, PCG = np.random.MT19937, np.random.PCG64


@pytest.fixture
def draws_by() -> Iterator[Callable[[Any], None]]:
    """What numpy's global stream draws by is as it was afterwards."""
    before = np.random.get_bit_generator()
    yield np.random.set_bit_generator
    np.random.set_bit_generator(before)


@pytest.mark.parametrize("way", [as_it_is, packed])
def test_a_stream_of_another_bit_generator_of_numpys_goes_on_too(way: Any, draws_by: Any) -> None:
    draws_by(PCG(1))
    kept = way(streams.capture())
    first = draws()
    streams.put_back(kept)
    assert draws() == first


@pytest.mark.parametrize("way", [as_it_is, packed])
@pytest.mark.parametrize(("then", "now"), [(MT, PCG), (PCG, MT)])
def test_a_bit_generator_that_was_chosen_too_late_is_named_before_any_stream_is_put_back(
    then: Any, now: Any, way: Any, draws_by: Any
) -> None:
    draws_by(then(1))
    kept = way(streams.capture())
    random.random()
    draws_by(now(1))
    before = random.getstate()
    with pytest.raises(Misuse, match=rf"drew by {then.__name__} .* by {now.__name__} here: .* before restore\(\)"):
        streams.put_back(kept)
    assert random.getstate() == before


def test_pythons_position_is_as_python_has_it() -> None:
    assert streams.python_position(streams.capture()["python"]) == random.getstate()


class Gpus:
    """Stand for CUDA's devices: until it is in use, what is asked of a stream waits, and seeds come last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.positions, self._in_use = [0] * count, False
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "init", self._init)
        monkeypatch.setattr(torch.cuda, "set_rng_state_all", self._put)

    def _init(self) -> None:
        self._in_use = True

    def _put(self, positions: list[torch.Tensor]) -> None:
        if self._in_use:
            for at, position in enumerate(positions):
                self.positions[at] = int(position)


def kept_with(gpus: int) -> dict[str, Any]:
    return streams.capture() | {"cuda": [torch.tensor(each) for each in range(5, 5 + gpus)]}


@pytest.mark.parametrize(
    ("now", "positions"), [(2, [5, 6]), (3, [5, 6, 0]), (0, [])], ids=["as many", "one more", "none at all"]
)
def test_streams_of_devices_that_nobody_uses_yet_go_on_too(
    now: int, positions: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that has seeded before restore() seeds its devices once it begins to use them."""
    gpus = Gpus(monkeypatch, now)
    streams.put_back(kept_with(gpus=2))
    assert gpus.positions == positions


def test_fewer_gpus_than_then_are_told_before_any_stream_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = Gpus(monkeypatch, 1)
    kept = kept_with(gpus=2)
    random.random()
    before = random.getstate()
    with pytest.raises(Misuse, match=r"^2 GPUs were visible when .* and 1 here: .* CUDA_VISIBLE_DEVICES"):
        streams.put_back(kept)
    assert (random.getstate(), gpus.positions) == (before, [0])
