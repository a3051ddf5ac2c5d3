"""Slots fit, all of them, or nothing is begun; the pages are those of the process that reserves them."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

import builders_arena as build
from checkpointheal.arena import Arena, beside, room
from checkpointheal.arena.folder import Folder
from checkpointheal.errors import ArenaDoesNotFit

MIB = 1 << 20
SCHEMA = build.a_schema()


def sizes(directory: Path) -> list[int]:
    return [(directory / f"slot-{slot}.safetensors").stat().st_size for slot in (0, 1)]


def memory(directory: Path) -> list[int]:
    return [room.allocated((directory / f"slot-{slot}.safetensors").stat()) for slot in (0, 1)]


def test_every_page_is_there_once_reserved(tmp_path: Path) -> None:
    arena = Arena.create(tmp_path)
    arena.reserve(3 * MIB + 1)
    assert sizes(tmp_path) == [3 * MIB + 4096] * 2
    assert all(held >= 3 * MIB + 4096 for held in memory(tmp_path))


def test_slots_only_grow_and_growing_keeps_what_is_sealed(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    for step in (1, 2):
        build.commit(arena, SCHEMA, step)
    with arena.read(1) as reading:
        before = sizes(tmp_path)
        arena.reserve(10)
        assert sizes(tmp_path) == before
        arena.reserve(MIB)
        assert sizes(tmp_path) == [MIB, MIB]
        assert build.is_whole(reading)
    assert [seal.step for seal in Arena.open(tmp_path).seals().values()] == [1, 2]
    larger = build.a_schema(200_000)
    assert [build.commit(arena, larger, step) for step in (3, 4)] == [0, 1], "a mapping follows its slot"
    for slot in (0, 1):
        with arena.read(slot) as reading:
            assert build.is_whole(reading)


def test_a_full_file_system_is_named_with_both_numbers_and_nothing_is_left_behind(small: Path) -> None:
    arena = Arena.create(small)
    with pytest.raises(
        ArenaDoesNotFit, match=rf"needs {20 * MIB + beside.SPARE_BYTES} more bytes.*16777216 are available"
    ):
        arena.reserve(10 * MIB)
    assert memory(small) == [0, 0]
    arena.reserve(6 * MIB)
    with pytest.raises(ArenaDoesNotFit):
        arena.reserve(7 * MIB)
    assert sizes(small) == [6 * MIB, 6 * MIB]


def test_a_reserved_arena_takes_generations_while_its_file_system_is_full(small: Path) -> None:
    schema = build.a_schema(MIB)
    arena = build.an_arena(small, schema)
    os.posix_fallocate(fill_up := os.open(small / "other", os.O_RDWR | os.O_CREAT), 0, room.free_bytes(Folder(small)))
    os.close(fill_up)
    with pytest.raises(ArenaDoesNotFit, match="private-1"):
        arena.write_private(1, b"x" * 5000)
    writing = arena.begin()
    assert writing is not None
    build.fill(schema, writing, 1)
    with pytest.raises(ArenaDoesNotFit, match=r"no room for slot-0\.seal\.json"):
        writing.seal(build.a_seal(schema, writing, 1))
    writing.abandon()
    assert sorted(os.listdir(small)) == ["other", "slot-0.safetensors", "slot-1.safetensors", "trainer.lock"]
    (small / "other").unlink()
    assert build.commit(arena, schema, 2) == 0


def would_do(arena: Arena, slot_bytes: int, part_bytes: int = 0) -> tuple[int | None, int | None]:
    try:
        arena.reserve(slot_bytes, part_bytes)
    except ArenaDoesNotFit as refusal:
        return refusal.arena_bytes, refusal.memory_bytes
    return 0, 0


@pytest.mark.parametrize("kept", [0, 5000], ids=["nothing else is there", "a private part is there"])
def test_an_arena_of_the_size_that_a_refusal_names_would_do(small: Path, kept: int) -> None:
    arena = Arena.create(small)
    arena.reserve(2 * MIB)
    if kept:
        arena.write_private(1, b"x" * kept)
    wanted, memory_wanted = would_do(arena, 10 * MIB)
    assert (wanted is not None, memory_wanted) == (True, None)
    build.resize(small, (wanted or 0) - 2 * MIB)
    with pytest.raises(ArenaDoesNotFit):
        arena.reserve(10 * MIB)
    build.resize(small, wanted or 0)
    arena.reserve(10 * MIB)
    assert sizes(small) == [10 * MIB] * 2


@pytest.mark.parametrize("size", [100, MIB - 200_000, MIB, 3 * MIB, 5 * MIB])
def test_beside_the_slots_there_is_room_for_a_part_of_each_step_that_is_needed(small: Path, size: int) -> None:
    arena, part = Arena.create(small), Arena.part_bytes(size)
    build.resize(small, 10 * MIB)
    wanted, _ = would_do(arena, 5 * MIB, part)
    assert wanted == 10 * MIB + max(4 * MIB, 4 * part)
    build.resize(small, wanted)
    arena.reserve(5 * MIB, part)
    for step in (1, 2):
        build.commit(arena, SCHEMA, step)
    for step in (0, 1, 2, 3):
        arena.write_private(step, b"x" * size)


def test_slots_that_are_there_are_refused_only_where_larger_parts_find_no_room(small: Path) -> None:
    arena = Arena.create(small)
    arena.reserve(5 * MIB, Arena.part_bytes(100))
    for step in range(3):
        arena.write_private(step, b"x" * MIB)
    assert would_do(arena, 5 * MIB, Arena.part_bytes(MIB)) == (0, 0), "three of them lie there"
    assert would_do(arena, 5 * MIB, Arena.part_bytes(2 * MIB)) == (10 * MIB + 4 * Arena.part_bytes(2 * MIB), None)
    assert would_do(arena, 5 * MIB, 0) == (0, 0), "an older trainer asks for no room"


def for_a_part(arena: Arena, size: int) -> int:
    try:
        arena.write_private(3, b"x" * size)
    except ArenaDoesNotFit as refusal:
        return refusal.arena_bytes or 0
    raise AssertionError("it found room")


@pytest.mark.parametrize("size", [5000, 3 * MIB])
def test_a_part_that_finds_no_room_names_an_arena_that_has_it(small: Path, size: int) -> None:
    arena = Arena.create(small)
    arena.reserve(6 * MIB - 8192)
    for step in range(3):
        arena.write_private(step, b"x" * MIB)
    (small / "aside").write_bytes(bytes(room.free_bytes(Folder(small))))
    build.resize(small, for_a_part(arena, size))
    arena.reserve(6 * MIB - 8192, Arena.part_bytes(size))
    arena.write_private(3, b"x" * size)


class FullAtSecond:
    """The `os` of a machine where room runs out between the check and the second slot."""

    def __init__(self) -> None:
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def posix_fallocate(self, fd: int, offset: int, length: int) -> None:
        self.calls += 1
        if self.calls == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.posix_fallocate(fd, offset, length)


def test_a_reserve_that_fails_halfway_gives_back_what_it_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    build.commit(arena, SCHEMA, 1)
    before = sizes(tmp_path), memory(tmp_path)
    monkeypatch.setattr(room, "os", FullAtSecond())
    with pytest.raises(ArenaDoesNotFit, match="needs"):
        arena.reserve(MIB)
    assert (sizes(tmp_path), memory(tmp_path)) == before
    with arena.read(0) as reading:
        assert build.is_whole(reading)


def a_group(path: Path, limit: str, current: int, inactive: int = 0) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / "memory.max").write_text(f"{limit}\n")
    (path / "memory.current").write_text(f"{current}\n")
    (path / "memory.stat").write_text(f"anon 1\ninactive_file {inactive}\n")


@pytest.mark.parametrize(
    ("pod", "container", "left"),
    [
        (("max", 5, 0), ("max", 5, 0), 1 << 62),
        (("max", 5, 0), ("1000", 900, 50), 150),
        (("500", 450, 0), ("1000", 100, 0), 50),
        (("500", 600, 0), ("max", 100, 0), 0),
    ],
)
def test_the_tightest_memory_limit_counts(
    tmp_path: Path, pod: tuple[str, int, int], container: tuple[str, int, int], left: int
) -> None:
    a_group(tmp_path / "pod", *pod)
    a_group(tmp_path / "pod" / "container", *container)
    membership = tmp_path / "membership"
    membership.write_text("0::/pod/container\n")
    assert room._memory_left(tmp_path, membership) == left


def an_old_group(path: Path, limit: int, current: int, inactive: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (path / "memory.usage_in_bytes").write_text(f"{current}\n")
    (path / "memory.stat").write_text(f"inactive_file 7\ntotal_inactive_file {inactive}\n")


@pytest.mark.parametrize(
    ("container", "left"),
    [((1000, 900, 50), 150), ((1000, 2000, 0), 0), ((9223372036854771712, 5, 0), 1 << 62)],
)
@pytest.mark.parametrize("controllers", ["memory", "cpu,memory"])
def test_a_limit_under_control_groups_of_version_1_counts_too(
    tmp_path: Path, controllers: str, container: tuple[int, int, int], left: int
) -> None:
    an_old_group(tmp_path / "memory", *container)
    membership = tmp_path / "membership"
    membership.write_text(f"5:pids:/x\n4:{controllers}:/the/path/outside/of/the/container\n0::/\n")
    assert room._memory_left(tmp_path, membership) == left


@pytest.mark.parametrize("version", [1, 2])
def test_what_may_be_dropped_for_a_drill_is_the_whole_cache(tmp_path: Path, version: int) -> None:
    membership = tmp_path / "membership"
    if version == 1:
        an_old_group(tmp_path / "memory", 1000, 900, 50)
        membership.write_text("4:memory:/\n")
    else:
        a_group(tmp_path, "1000", 900, 50)
        membership.write_text("0::/\n")
    folder, prefix = (tmp_path / "memory", "total_") if version == 1 else (tmp_path, "")
    with (folder / "memory.stat").open("a") as stat:
        stat.write(f"{prefix}active_file 200\n")
    assert room._memory_left(tmp_path, membership) == 150
    assert room._memory_left(tmp_path, membership, whole_cache=True) == 350


def test_without_control_groups_memory_is_not_limited(tmp_path: Path) -> None:
    assert room._memory_left(tmp_path, tmp_path / "missing") == 1 << 62
    (tmp_path / "old").write_text("4:memory:/x\n1:cpu:/x\n")
    assert room._memory_left(tmp_path, tmp_path / "old") == 1 << 62


def test_a_memory_limit_refuses_before_a_page_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arena = Arena.create(tmp_path)
    monkeypatch.setattr(room, "_memory_left", lambda: 5 * MIB)
    with pytest.raises(ArenaDoesNotFit, match=f"{5 * MIB} are available") as refused:
        arena.reserve(MIB)
    assert memory(tmp_path) == [0, 0]
    assert (refused.value.arena_bytes, refused.value.memory_bytes) == (None, MIB)
