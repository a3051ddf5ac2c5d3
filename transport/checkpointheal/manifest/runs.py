"""How is a run of tensors told in a tree, and how is it told one by one?

Tensors whose numbers follow each other are one node among a container's children, however many they are. Must not
trust a tree.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

MAPPINGS = frozenset(("d", "od", "ct"))
INNER: Mapping[str, int] = {"c": 1, "x": 2, "dt": 1}
"""Where in its content an object's tree of tensors stands."""


def run_of(node: JsonValue) -> tuple[int, int] | None:
    """First and number of a run of tensors; None: it is none."""
    told = node.get("R") if isinstance(node, dict) and len(node) == 1 else None
    if not isinstance(told, list) or len(told) != 2:
        return None
    first, count = told
    return (first, count) if type(first) is int and type(count) is int and first >= 0 and count >= 0 else None


def runless(node: JsonValue) -> Any:
    """A tree that adds up, with each tensor told by itself, so that two can be compared child by child."""
    if not isinstance(node, dict):
        return node
    ((tag, content),) = node.items()
    if tag in MAPPINGS:
        return {tag: [each for pair in content for each in _spread(*pair)]}  # type: ignore[union-attr, misc]
    if tag in ("l", "t"):
        return {tag: [each for child in content for each in _children(child)]}  # type: ignore[union-attr]
    at = INNER.get(tag)
    return node if at is None else {tag: [*content[:at], runless(content[at]), *content[at + 1 :]]}  # type: ignore[index, misc]


def _children(child: JsonValue) -> list[Any]:
    run = run_of(child)
    return [runless(child)] if run is None else [{"T": run[0] + at} for at in range(run[1])]


def _spread(key: Any, node: Any) -> list[Any]:
    if isinstance(key, list):
        return [[each, {"T": node["R"] + at}] for at, each in enumerate(key)]
    return [[key, runless(node)]]
