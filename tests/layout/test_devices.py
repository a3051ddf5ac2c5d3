"""Whoever makes a tensor says where: else it lies where the user's `torch.set_default_device` has it."""

import ast
from collections.abc import Iterator
from pathlib import Path

from torch.utils._device import _device_constructors

SOURCES = sorted((Path(__file__).parents[2] / "transport").rglob("*.py"))
MAKERS = frozenset(each.__name__ for each in _device_constructors())
AS_TORCH_DOES = {"lightning_loops.py": {"empty"}, "reference.py": {"randperm"}}
"""A draw that a loader's iterator makes is made here where it makes it; and the demo is a user's own script."""


def placeless(source: str) -> Iterator[str]:
    """What makes a tensor without a word on its device: `torch.zeros(3)`, or `partial(torch.zeros, 3)`."""
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and "device" not in {each.arg for each in call.keywords}:
            made = call.args[0] if isinstance(call.func, ast.Name) and call.func.id == "partial" else call.func
            if isinstance(made, ast.Attribute) and isinstance(made.value, ast.Name) and made.value.id == "torch":
                yield from {made.attr} & MAKERS


def test_every_tensor_is_made_on_a_named_device() -> None:
    found = {path: set(placeless(path.read_text())) - AS_TORCH_DOES.get(path.name, set()) for path in SOURCES}
    assert {str(path): makers for path, makers in found.items() if makers} == {}


def test_the_look_sees_what_it_looks_for() -> None:
    source = "torch.zeros(3)\npartial(torch.empty, 3)\ntorch.ones(3, device='cpu')\ntorch.cat(x)\nprint(torch.x)"
    assert sorted(placeless(source)) == ["empty", "zeros"]
