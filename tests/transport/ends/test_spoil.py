"""What did not come is NaN in every dtype that has one, to the element; what came stays."""

from collections.abc import Sequence

import pytest
import torch

from checkpointheal.contract.cut import Piece
from checkpointheal.ends.spoil import spoil
from checkpointheal.manifest import describe
from checkpointheal.manifest.dtypes import BY_NAME

NUMBERS = [
    name for name, dtype in BY_NAME.items() if (dtype.is_floating_point or dtype.is_complex) and "float4" not in name
]
OTHERS = ["int64", "int32", "uint8", "bool", "float4_e2m1fn_x2"]
READ_AS = {"complex32": torch.float16, "complex64": torch.float32, "complex128": torch.float64}


def zeros(name: str, count: int = 64) -> torch.Tensor:
    dtype = BY_NAME[name]
    return torch.zeros(count * dtype.itemsize, dtype=torch.uint8).view(dtype)


def are_nan(tensor: torch.Tensor) -> list[bool]:
    name = str(tensor.dtype).removeprefix("torch.")
    if name == "bcomplex32":
        return tensor.view(torch.uint8).view(torch.bfloat16).float().isnan().view(-1, 2).all(1).tolist()
    if name in READ_AS:
        return tensor.view(READ_AS[name]).isnan().view(-1, 2).all(1).tolist()
    return tensor.float().isnan().tolist()


def spoiled(state: dict[str, torch.Tensor], *lacking: tuple[int, int, int]) -> None:
    """Region, first byte and the one behind the last."""
    spoil(describe(state), [Piece(region, start, 0, end - start) for region, start, end in lacking])


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_that_did_not_come_is_nan_and_no_other(name: str) -> None:
    tensor = zeros(name)
    size = tensor.itemsize
    spoiled({"t": tensor}, (0, 8 * size, 16 * size), (0, 40 * size, 41 * size))
    assert are_nan(tensor) == [8 <= at < 16 or at == 40 for at in range(64)]


@pytest.mark.parametrize("name", OTHERS)
def test_what_has_no_nan_is_left(name: str) -> None:
    if name not in BY_NAME:
        pytest.skip("this torch has none")
    tensor = zeros(name)
    spoiled({"t": tensor}, (0, 0, tensor.nbytes))
    assert not tensor.view(torch.uint8).any()


@pytest.mark.parametrize(("start", "end", "nan"), [(3, 4, {0}), (3, 5, {0, 1}), (4, 8, {1}), (7, 13, {1, 2, 3})])
def test_a_number_that_came_in_part_did_not_come(start: int, end: int, nan: Sequence[int]) -> None:
    tensor = torch.zeros(8)
    spoiled({"t": tensor}, (0, start, end))
    assert {at for at, is_nan in enumerate(are_nan(tensor)) if is_nan} == nan


def test_neighbouring_chunks_in_any_order_are_one_range() -> None:
    tensor = torch.zeros(8)
    spoiled({"t": tensor}, (0, 20, 24), (0, 8, 12), (0, 4, 8), (0, 12, 16))
    assert are_nan(tensor) == [False, True, True, True, False, True, False, False]


def test_only_the_tensors_of_the_state_are_filled_where_they_lie() -> None:
    base = torch.zeros(16)
    state = {"a": base[1:3], "n": torch.ones(4, dtype=torch.int32), "b": base[5:7], "e": torch.empty(0)}
    spoiled(state, *((at, 0, nbytes) for at, nbytes in enumerate(describe(state).schema.regions.nbytes)))
    assert [at for at, is_nan in enumerate(are_nan(base)) if is_nan] == [1, 2, 5, 6]
    assert state["n"].tolist() == [1] * 4


def test_where_nothing_that_lacks_can_be_nan_everything_that_can_is() -> None:
    state = {"w": torch.zeros(4), "n": torch.zeros(4, dtype=torch.int32), "h": torch.zeros(4, dtype=torch.bfloat16)}
    state["q"] = torch.zeros(4, dtype=torch.uint8).view(torch.float8_e5m2)
    spoiled(state, (1, 0, 16))
    assert all(are_nan(state["w"]))
    assert all(are_nan(state["h"]))
    assert all(are_nan(state["q"]))
    assert not state["n"].any()


def test_parameters_are_filled_past_autograds_eyes() -> None:
    parameter = torch.nn.Parameter(torch.zeros(4))
    version = parameter._version
    spoiled({"p": parameter}, (0, 0, 16))
    assert all(are_nan(parameter.detach()))
    assert parameter._version == version
