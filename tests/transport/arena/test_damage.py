"""A hostile or broken trainer shares the directory: whatever it leaves there, the agent gets an answer, not a crash."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import builders_arena as build
from checkpointheal.arena import Arena, header
from checkpointheal.errors import (
    ArenaDoesNotFit,
    CheckpointHealError,
    NoArena,
    NotSealed,
    PrivateStateTooLarge,
    SlotDamaged,
    UnknownVersion,
)

SCHEMA = build.a_schema()

SEALS = {
    "empty": (b"", "SlotDamaged"),
    "no JSON": (b"\x00\xff{", "SlotDamaged"),
    "a list": (b"[1]", "SlotDamaged"),
    "a number": (b"1e400", "SlotDamaged"),
    "nothing": (b"null", "SlotDamaged"),
    "cut": (b'{"format": 1, "job": "j', "SlotDamaged"),
    "fields missing": (b'{"format": 1}', "SlotDamaged"),
    "deep": (b"[" * 1_000_000, "SlotDamaged"),
    "deep inside": (b'{"format": 1, "values": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "SlotDamaged"),
    "huge": (b" " * (17 << 20), "SlotDamaged"),
    "huge number": (b'{"format": ' + b"9" * 100_000 + b"}", "SlotDamaged"),
    "many errors": (b'{"values": 1, "step": -1, "' + b'a": 1, "' * 10_000 + b'b": 1}', "SlotDamaged"),
    "a later format": (b'{"format": 2, "anything": []}', "UnknownVersion"),
    "a strange format": (b'{"format": {"a": [[]]}}', "UnknownVersion"),
}


def assert_refused(arena: Arena, slot: int, reason: str) -> None:
    assert slot not in arena.seals()
    assert arena.damaged()[slot].reason == reason
    assert str(slot) in str(arena.damaged()[slot])
    with pytest.raises(CheckpointHealError) as caught:
        arena.read(slot)
    assert caught.value.reason == reason


@pytest.mark.parametrize("case", SEALS)
def test_a_damaged_seal_is_listed_with_its_reason_and_its_slot_is_used_again(tmp_path: Path, case: str) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    for step in (1, 2):
        build.commit(arena, SCHEMA, step)
    content, reason = SEALS[case]
    (tmp_path / "slot-0.seal.json").write_bytes(content)
    assert_refused(arena, 0, reason)
    assert set(arena.seals()) == {1}
    assert build.commit(arena, SCHEMA, 3) == 0
    assert arena.damaged() == {}
    with arena.read(0) as reading:
        assert build.is_whole(reading)


def test_a_seal_that_is_no_object_is_named_as_a_whole(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    (tmp_path / "slot-0.seal.json").write_bytes(b"[1]")
    assert str(arena.damaged()[0]) == "the seal of slot 0 is not a seal: the whole does not fit"


def test_a_seal_whose_slot_is_gone_is_refused(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    build.commit(arena, SCHEMA, 1)
    (tmp_path / "slot-0.safetensors").unlink()
    assert arena.seals() == {}
    assert "slot 0 has 0 bytes" in str(arena.damaged()[0])


@pytest.mark.parametrize("key", ["job", "member", "step", "header_bytes", "data_bytes", "values"])
@pytest.mark.parametrize("value", [None, -1, "x", [], {}, 1 << 70, 1e300])
def test_a_seal_with_one_wrong_field_is_refused_or_true(tmp_path: Path, key: str, value: object) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    build.commit(arena, SCHEMA, 1)
    path = tmp_path / "slot-0.seal.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    if arena.seals():
        assert (key, value) in [("job", "x"), ("step", 1 << 70), ("values", [])]
    else:
        assert_refused(arena, 0, "SlotDamaged")


def as_directory(path: Path) -> None:
    path.mkdir()


def as_link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "outside")


def as_fifo(path: Path) -> None:
    os.mkfifo(path)


def as_loop(path: Path) -> None:
    path.symlink_to(path)


STRANGERS = (as_directory, as_link, as_fifo, as_loop)


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    """A file outside the arena, which nobody may touch."""
    path = tmp_path / "outside"
    path.write_bytes(b"precious" * 10_000)
    yield path
    assert path.read_bytes() == b"precious" * 10_000


def one_of_two_steps_with(folder: Path, name: str, put: Callable[[Path], None]) -> Arena:
    """Something is put in the place of that file."""
    directory = folder / "arena"
    arena = build.an_arena(directory, SCHEMA)
    for step in (1, 2):
        build.commit(arena, SCHEMA, step)
    (directory / name).unlink(missing_ok=True)
    put(directory / name)
    return arena


@pytest.mark.parametrize("put", STRANGERS)
@pytest.mark.parametrize("name", ["slot-0.seal.json", "slot-0.seal.json.tmp"])
@pytest.mark.usefixtures("precious")
def test_what_stands_in_the_place_of_a_seal_is_replaced_or_named(
    tmp_path: Path, name: str, put: Callable[[Path], None]
) -> None:
    arena = one_of_two_steps_with(tmp_path, name, put)
    assert (0 in arena.seals()) == name.endswith("tmp")
    if put is as_directory:
        with pytest.raises(SlotDamaged, match=f"{name} cannot be removed"):
            build.commit(arena, SCHEMA, 3)
    else:
        assert build.commit(arena, SCHEMA, 3) == 0
        assert arena.seals()[0].step == 3
    assert arena.seals()[1].step == 2


@pytest.mark.parametrize("put", STRANGERS)
@pytest.mark.usefixtures("precious")
def test_what_stands_in_the_place_of_a_slot_is_neither_read_nor_written(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    directory = tmp_path / "arena"
    arena = build.an_arena(directory, SCHEMA)
    build.commit(arena, SCHEMA, 1)
    (directory / "slot-0.safetensors").unlink()
    put(directory / "slot-0.safetensors")
    for arriving in (arena, Arena.open(directory)):
        with pytest.raises(SlotDamaged, match=r"slot-0\.safetensors|slot 0"):
            arriving.read(0)
        assert [build.commit(arriving, SCHEMA, step) for step in (2, 3)] == [1, 1]


@pytest.mark.parametrize("put", STRANGERS)
@pytest.mark.usefixtures("precious")
def test_reserve_refuses_what_is_no_file(tmp_path: Path, put: Callable[[Path], None]) -> None:
    directory = tmp_path / "arena"
    arena = Arena.create(directory)
    (directory / "slot-1.safetensors").unlink()
    put(directory / "slot-1.safetensors")
    with pytest.raises(SlotDamaged, match=r"slot-1\.safetensors"):
        arena.reserve(1 << 20)


@pytest.mark.parametrize("put", STRANGERS)
@pytest.mark.usefixtures("precious")
def test_a_strange_private_part_is_refused(tmp_path: Path, put: Callable[[Path], None]) -> None:
    arena = Arena.create(tmp_path / "arena")
    put(tmp_path / "arena" / "private-4.bin")
    with pytest.raises(SlotDamaged, match=r"private-4\.bin"):
        arena.read_private(4)


def test_a_slot_cut_short_is_refused_before_and_while_it_is_read(tmp_path: Path) -> None:
    schema = build.a_schema(100_000)
    arena = build.an_arena(tmp_path, schema)
    build.commit(arena, schema, 1)
    with arena.read(0) as reading:
        pieces = reading.chunks(4096)
        next(pieces)
        os.truncate(tmp_path / "slot-0.safetensors", 10_000)
        with pytest.raises(SlotDamaged, match="ends at byte 10000,"):
            list(pieces)
        with pytest.raises(SlotDamaged, match="mapped"):
            _ = reading.data
    assert_refused(arena, 0, "SlotDamaged")


def test_a_slot_with_holes_is_not_written_into_until_it_is_reserved_again(tmp_path: Path) -> None:
    schema = build.a_schema(100_000)
    arena = build.an_arena(tmp_path, schema)
    size = (tmp_path / "slot-0.safetensors").stat().st_size
    for cut in (0, 4096):
        os.truncate(tmp_path / "slot-0.safetensors", cut)
        os.truncate(tmp_path / "slot-0.safetensors", size)
        with pytest.raises(ArenaDoesNotFit, match="slot 0 has memory for"):
            arena.begin(keep=[1])
        arena.reserve(Arena.slot_bytes(schema))
        assert build.commit(arena, schema, 1, keep=[1]) == 0


def test_slots_that_were_never_reserved_are_said_to_be_so(tmp_path: Path) -> None:
    arena = Arena.create(tmp_path)
    with pytest.raises(ArenaDoesNotFit, match="reserve"):
        arena.begin()


def test_a_replaced_slot_is_found_and_mapped_anew(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    build.commit(arena, SCHEMA, 1)
    for name in ("slot-0.safetensors", "slot-0.seal.json"):
        (tmp_path / name).unlink()
    with pytest.raises(ArenaDoesNotFit):
        arena.begin()
    build.an_arena(tmp_path, SCHEMA)
    assert build.commit(arena, SCHEMA, 2) == 0
    with Arena.open(tmp_path).read(0) as reading:
        assert build.is_whole(reading)


HEADERS = {
    "nothing": b"",
    "no JSON": b"\xff" * 500,
    "a list": b"[]",
    "no metadata": b"{}",
    "metadata is a number": b'{"__metadata__": 3}',
    "schema is a number": b'{"__metadata__": {"checkpointheal": 3}}',
    "schema is none": b'{"__metadata__": {"checkpointheal": "{}"}}',
    "deep": b"[" * 4000,
    "deep schema": b'{"__metadata__": {"checkpointheal": "' + b"[" * 3000 + b'"}}',
    "another schema": header.lay_out(build.a_schema(5)).render(1 << 20)[8:],
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_without_the_sealed_schema_is_refused(tmp_path: Path, case: str) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    build.commit(arena, SCHEMA, 1)
    room_for_it = arena.seals()[0].header_bytes - 8
    with (tmp_path / "slot-0.safetensors").open("r+b") as file:
        file.seek(8)
        file.write(HEADERS[case].ljust(room_for_it)[:room_for_it])
    with arena.read(0) as reading, pytest.raises(SlotDamaged, match="header"):
        _ = reading.schema


def test_files_of_strange_names_are_nobodys(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    for name in (
        "slot-9.seal.json",
        "slot-x.safetensors",
        "private-.bin",
        "private-01.bin",
        "private--1.bin",
        "private-" + "9" * 60 + ".bin",
        "private-" + "9" * 17 + ".bin",
        "\udcff",
    ):
        (tmp_path / name).touch()
    assert arena.seals() == arena.damaged() == {}
    assert arena.private_steps() == ()
    with pytest.raises(NotSealed):
        arena.read(9)


def test_private_parts_are_kept_by_step(tmp_path: Path) -> None:
    arena = Arena.create(tmp_path)
    assert arena.read_private(1) is None
    names = [arena.write_private(step, b"part of %d" % step) for step in (10, 9, 11)]
    assert names == ["private-10.bin", "private-9.bin", "private-11.bin"]
    assert Arena.open(tmp_path).private_steps() == (9, 10, 11)
    arena.write_private(10, b"again")
    arena.remove_private([9, 11, 12])
    assert arena.private_steps() == (10,)
    assert arena.read_private(10) == b"again"


def test_a_private_part_over_its_limit_is_neither_written_nor_read(tmp_path: Path) -> None:
    arena = Arena.create(tmp_path)
    with pytest.raises(PrivateStateTooLarge, match="step 1 has 11 bytes, over its limit of 10"):
        arena.write_private(1, b"x" * 11, limit=10)
    assert arena.private_steps() == ()
    arena.write_private(1, b"x" * 10, limit=10)
    assert arena.read_private(1, limit=10) == b"x" * 10
    arena.write_private(1, b"x" * 11)
    assert arena.read_private(1, limit=11) == b"x" * 11
    with pytest.raises(SlotDamaged, match="larger than 10 bytes"):
        arena.read_private(1, limit=10)


def test_a_format_is_said_by_its_error(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    (tmp_path / "slot-1.seal.json").write_text('{"format": 7}')
    assert isinstance(arena.damaged()[1], UnknownVersion)
    assert "format 7" in str(arena.damaged()[1])


@pytest.mark.parametrize("put", STRANGERS)
@pytest.mark.parametrize("name", ["slot-0.safetensors", "trainer.lock"])
@pytest.mark.usefixtures("precious")
def test_an_agent_begins_beside_whatever_stands_in_the_place_of_its_files(
    tmp_path: Path, name: str, put: Callable[[Path], None]
) -> None:
    """One that could not would take the agents of all its pod's trainers with it, again and again."""
    one_of_two_steps_with(tmp_path, name, put)
    directory = tmp_path / "arena"
    begun = build.an_arena(directory, SCHEMA)
    assert (directory / name).is_file()
    assert begun.seals()[1].step == 2
    assert build.commit(begun, SCHEMA, 3) == 0
    with begun.hold_trainer_lock():
        pass


@pytest.mark.parametrize("put", [lambda path: path.touch(), as_fifo, as_loop, lambda path: path.symlink_to("/nowhere")])
@pytest.mark.parametrize("seat", ["", "0"])
def test_what_is_no_folder_in_the_place_of_an_arena_is_named_and_left_alone(
    tmp_path: Path, seat: str, put: Callable[[Path], None]
) -> None:
    """The path is the user's: what stands there may be somebody's."""
    put(tmp_path / "shared")
    with pytest.raises(NoArena, match="shared"):
        Arena.create(tmp_path / "shared" / seat)
    assert os.path.lexists(tmp_path / "shared")
