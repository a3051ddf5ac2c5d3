"""Whenever a process is killed, the arena holds the old generation, the new one, or none: never a wrong one."""

import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import GeneratorType
from typing import Any

import pytest

import builders_arena as build
from checkpointheal.arena import Arena, folder, room, writing
from checkpointheal.contract.layout import Schema

# Python 3.12 warns that a child of a process with threads may deadlock; these children run a few lines and die.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

SAME = build.a_schema()
OTHER = build.a_schema(5, 5, 40, dtype="I64", name="v")
KILLED = 9


class Fate:
    """Kills this process, as `kill -9` would, at the given point of all that it passes."""

    def __init__(self, point: int) -> None:
        self._left = point

    def passes(self) -> None:
        if self._left == 0:
            os._exit(KILLED)
        self._left -= 1


class Mortal:
    """A module, each of whose functions is a point at which the process may be killed."""

    def __init__(self, module: Any, fate: Fate) -> None:
        self._module, self._fate = module, fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if not callable(found) or isinstance(found, type):
            return found

        def passing(*args: Any, **keywords: Any) -> Any:
            self._fate.passes()
            result = found(*args, **keywords)
            return self._each(result) if isinstance(result, GeneratorType) else result

        return passing

    def _each(self, items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            yield item
            self._fate.passes()


def die_at_every_point(act: Callable[[Fate], None]) -> Iterator[int]:
    """Run `act` in children, each killed one point later, until one survives it."""
    for point in range(1000):
        child = os.fork()
        if child == 0:
            fate = Fate(point)
            folder.os, folder.fcntl = Mortal(folder.os, fate), Mortal(folder.fcntl, fate)
            room.os, writing.os = Mortal(room.os, fate), Mortal(writing.os, fate)
            writing.header = Mortal(writing.header, fate)
            writing.mmap = Mortal(writing.mmap, fate)
            try:
                act(fate)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        yield point
        if code == 0:
            return
        assert code == KILLED
    raise AssertionError("1000 points were not enough")


def slow_commit(directory: Path, schema: Schema, step: int, fate: Fate) -> None:
    """A commit that can also be killed between any two regions, and in the middle of one."""
    arena = Arena.open(directory)
    taken = arena.begin()
    assert taken is not None
    data, wanted = taken.prepare(schema), build.pattern(schema, step)
    for region in schema.each_region:
        middle = region.offset + region.nbytes // 2
        for start, end in ((region.offset, middle), (middle, region.offset + region.nbytes)):
            fate.passes()
            data[start:end] = wanted[start:end]
    taken.seal(build.a_seal(schema, taken, step))


def lay_table(arena: Arena, sealed: int) -> None:
    """Steps 40, 41 in slots 0, 1, as far as they are wanted."""
    for slot in (0, 1):
        arena.discard(slot)
    for step in range(40, 40 + sealed):
        build.commit(arena, SAME, step)


def steps(arena: Arena) -> set[int]:
    """The sealed steps, after proving that each slot holds what its seal says."""
    assert arena.damaged() == {}
    for slot in arena.seals():
        with arena.read(slot) as reading:
            assert build.is_whole(reading)
    return {seal.step for seal in arena.seals().values()}


@pytest.mark.parametrize("schema", [SAME, OTHER], ids=["same schema", "another schema"])
@pytest.mark.parametrize(
    ("sealed", "allowed"),
    [
        (0, [set(), {50}]),
        (1, [{40}, {40, 50}]),
        (2, [{40, 41}, {41}, {41, 50}]),
    ],
    ids=["empty", "one sealed", "both sealed"],
)
def test_a_commit_killed_at_any_point_leaves_whole_generations(
    tmp_path: Path, schema: Schema, sealed: int, allowed: list[set[int]]
) -> None:
    arena = build.an_arena(tmp_path, SAME)
    lay_table(arena, sealed)
    found = []
    for _ in die_at_every_point(lambda fate: slow_commit(tmp_path, schema, 50, fate)):
        found.append(steps(Arena.open(tmp_path)))
        assert build.commit(Arena.open(tmp_path), schema, 60) is not None, "the dead writer's lock is gone"
        assert 60 in steps(arena)
        lay_table(arena, sealed)
    assert len(found) > 25
    assert [seen for at, seen in enumerate(found) if at == 0 or seen != found[at - 1]] == allowed


def test_a_reserve_killed_at_any_point_keeps_every_generation(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SAME)
    for step in (1, 2):
        build.commit(arena, SAME, step)
    larger = build.a_schema(30_000)
    for _ in die_at_every_point(lambda _fate: Arena.create(tmp_path).reserve(Arena.slot_bytes(larger))):
        for slot in (0, 1):
            with Arena.open(tmp_path).read(slot) as reading:
                assert build.is_whole(reading)
    Arena.open(tmp_path).reserve(Arena.slot_bytes(larger))
    assert build.commit(arena, larger, 3) == 0
    with arena.read(0) as reading:
        assert build.is_whole(reading)


def write(directory: Path) -> None:
    Arena.open(directory).write_private(3, b"newer")


def test_a_private_part_killed_at_any_point_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SAME)
    found = set()
    arena.write_private(3, b"old")
    for _ in die_at_every_point(lambda _fate: write(tmp_path)):
        found.add(arena.read_private(3))
        arena.write_private(3, b"old")
    assert found == {b"old", b"newer"}
    with arena.hold_trainer_lock():
        assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"], "leftovers go with the next trainer"
