"""Which state dicts are sent? Each is made from a seed, so that both sides can have it without sending it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

State = dict[str, torch.Tensor]


class Case(NamedTuple):
    """A state, and a second one of the same layout that it may be received into."""

    make: Callable[[], State]
    rounds: int
    ways: tuple[str, ...] = ()
    """Only these; empty: all."""


def gpt() -> State:
    """2 GB in 378 tensors: a GPT-2-like model of ten layers with both moments of AdamW."""
    width, vocabulary = 1024, 40_000
    layer = [(width,), (width,), (3 * width, width), (3 * width,), (width, width), (width,)]
    layer += [(width,), (width,), (4 * width, width), (4 * width,), (width, 4 * width), (width,)]
    shapes = [(vocabulary, width), (1024, width), *(layer * 10), (width,), (width,), (width,), (width,)]
    kinds = ("weight", "exp_avg", "exp_avg_sq")
    return {f"{kind}.{number}": _drawn(shape) for kind in kinds for number, shape in enumerate(shapes)}


def llama() -> State:
    """1 GB of bfloat16 in the shapes of a Llama."""
    width, hidden, layers = 2048, 5632, 12
    layer = [(width, width), (width // 4, width), (width // 4, width), (width, width), (hidden, width), (hidden, width)]
    layer += [(width, hidden), (width,), (width,)]
    shapes = [(6000, width), *(layer * layers), (width,)]
    return {str(number): _drawn(shape).bfloat16() for number, shape in enumerate(shapes)}


def small() -> State:
    """10,000 tensors of 4 KB."""
    return {str(number): _drawn((1024,)) for number in range(10_000)}


def views() -> State:
    """64 views of one buffer of 64 MB: each is one half of it, from another place on."""
    buffer = _drawn((16 << 20,))
    half = buffer.numel() // 2
    return {str(number): buffer[number << 16 :][:half] for number in range(64)}


def distinct(state: State) -> list[torch.Tensor]:
    """Each storage once, whole."""
    storages = {each.untyped_storage().data_ptr(): each for each in state.values()}
    return [
        each
        if each.numel() * each.element_size() == each.untyped_storage().nbytes()
        else torch.empty(0, dtype=each.dtype).set_(each.untyped_storage())
        for each in storages.values()
    ]


def _drawn(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.rand(shape)


LARGE = (
    "ours",
    "ours, in place",
    "PyTorch's",
    "PyTorch's, in place",
    "torchft's",
    "torchft's, in place",
    "torchft's HTTP",
    "torch.save and load",
    "dcp.save and load",
    "gloo",
    "gloo, in place",
    "TCP",
    "memcpy",
    "memcpy, in place",
)
FEW = ("ours", "ours, in place", "PyTorch's", "PyTorch's, in place", "gloo", "gloo, in place")
CASES: Mapping[str, Case] = {
    "2 GB in 378 tensors": Case(gpt, 5, LARGE),
    "1 GB of bfloat16": Case(llama, 5, LARGE),
    "10,000 tensors of 4 KB": Case(small, 5, FEW),
    "64 views of 64 MB": Case(views, 3, ("ours", "PyTorch's", "gloo")),
}
