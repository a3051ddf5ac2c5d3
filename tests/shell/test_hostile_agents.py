"""Whatever an agent says of its own pod, the operator reads, decides, writes and goes on looking after the others."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fuzz import doors

from builders_core import report_of
from checkpointheal.contract.base import MOST

HOSTILE = (
    *("", "x" * 65, "x" * 129, "x" * 254, "x" * 40_000, "𝄞" * 3_000, "\0", "\x1b[2J", "{donor}", "../.."),
    "\n2026-01-01 INFO checkpointheal: all is well",
    *(None, -1, 0, 2**31, MOST - 1, MOST, 2**63, 10**400, 1e308, [], {}, [[]] * 2_000),
)


def places(said: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a report something may be said."""
    yield from [way] if way else ()
    for key, inner in said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, list) else ():
        yield from places(inner, (*way, key))


def changed(said: Any, way: tuple[Any, ...], value: object) -> Any:
    if not way:
        return value
    held = dict(said) if isinstance(said, dict) else list(said)
    held[way[0]] = changed(held[way[0]], way[1:], value)
    return held


@pytest.mark.parametrize("world", range(len(doors.WORLDS)))
def test_a_look_ends_whatever_is_said_in_any_one_place(world: int) -> None:
    honest = json.loads(report_of(doors.WORLDS[world], doors.SPEAKER).model_dump_json())
    for way in places(honest):
        for value in HOSTILE:
            doors.report(bytes([world]) + json.dumps(changed(honest, way, value)).encode())
