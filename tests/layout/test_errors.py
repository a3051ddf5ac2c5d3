"""The tree at the head of `errors.py` is the tree of its classes."""

import inspect
import re

from checkpointheal import errors

BRANCH = re.compile(r"^    (?P<indent>(?:[│ ]   )*)(?:[├└]── )?(?P<name>[A-Z]\w+)(?:\s{2,}(?P<meaning>\S.*))?$")


def drawn() -> dict[str, str]:
    """Each drawn error and its parent; the root's parent is Exception."""
    parents, above = {}, {-1: "Exception"}
    for line in (errors.__doc__ or "").splitlines():
        if branch := BRANCH.match(line):
            depth = 0 if branch["name"] == "CheckpointHealError" else len(branch["indent"]) // 4 + 1
            parents[branch["name"]] = above[depth - 1]
            above[depth] = branch["name"]
    return parents


def built() -> dict[str, str]:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__]
    return {c.__name__: c.__bases__[0].__name__ for c in classes}


def test_the_drawn_tree_is_the_built_one() -> None:
    assert drawn() == built()


def test_every_error_says_what_it_means() -> None:
    assert all(getattr(errors, name).__doc__ for name in built())


def test_an_errors_reason_is_its_own_name() -> None:
    assert errors.PeerLost("gone").reason == "PeerLost"
