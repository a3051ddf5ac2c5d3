"""Which leaf of an offered state bears the name of which leaf of a target?

By its dotted path; where several have one, as the keys 1 and "1", by the very keys that lead to it. Never a guess. Must
not know what a leaf is.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from checkpointheal.contract.layout import Difference
from checkpointheal.manifest.runs import INNER, MAPPINGS, runless

Keys = tuple[str, ...]
"""As a tree writes them, from the root down."""


@dataclass(frozen=True)
class Pairing:
    """Indices of what belongs together, offered to target."""

    pairs: tuple[tuple[int, int], ...]
    shared: frozenset[str]
    """Paths that several leaves of one side have."""
    unsettled: tuple[Difference, ...]
    """What nothing tells apart."""


def pair(kind: str, offered: Sequence[str], target: Sequence[str], trees: tuple[JsonValue, JsonValue]) -> Pairing:
    """Leaves of this kind, `T` or `V`, by their paths; `trees` are asked only where a path is shared."""
    shared = frozenset(path for paths in (offered, target) for path, count in Counter(paths).items() if count > 1)
    theirs = {path: index for index, path in enumerate(offered)}
    pairs = [(theirs[path], at) for at, path in enumerate(target) if path in theirs and path not in shared]
    unsettled: list[Difference] = []
    if shared:
        keys = [_keys(kind, tree) for tree in trees]
        for path in sorted(shared):
            here, there = (
                {names[at]: at for at, each in enumerate(paths) if each == path}
                for names, paths in zip(keys, (offered, target), strict=True)
            )
            pairs += [(here.pop(name), there.pop(name)) for name in tuple(there) if name in here]
            if len(here) == len(there) == 1:  # one is left on each side: the keys are written otherwise
                pairs += zip(here.values(), there.values(), strict=True)
            elif here and there:
                unsettled.append(_unsettled(path, len(here), len(there)))
    return Pairing(tuple(sorted(pairs, key=lambda each: each[1])), shared, tuple(unsettled))


def _unsettled(path: str, offered: int, target: int) -> Difference:
    told = [f"{count} of that name, under other keys" for count in (offered, target)]
    return Difference(path=path, what="container", offered=told[0], target=told[1])


def _keys(kind: str, tree: JsonValue) -> Mapping[int, Keys]:
    return {index: keys for tag, index, keys in _leaves(runless(tree), ()) if tag == kind}


def _leaves(node: Any, keys: Keys) -> Iterator[tuple[str, int, Keys]]:
    ((tag, content),) = node.items()
    if tag in ("T", "V"):
        yield tag, content, keys
    elif tag in INNER:
        yield from _leaves(content[INNER[tag]], keys)
    else:
        for key, child in _children(tag, content):
            yield from _leaves(child, (*keys, key))


def _children(tag: str, content: Any) -> Iterator[tuple[str, Any]]:
    """A place in a list is like a whole number as a key."""
    if tag in MAPPINGS:
        yield from ((json.dumps(key), child) for key, child in content)
    elif tag != "K":
        nodes = map(runless, content[1]) if tag == "sh" else content
        yield from ((json.dumps({"i": str(at)}), child) for at, child in enumerate(nodes))
