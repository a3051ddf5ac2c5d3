"""A generation is there whole or not at all, and nobody ever waits for a slot."""

import fcntl
import os
from pathlib import Path

import pytest
from safetensors import safe_open

import builders_arena as build
from checkpointheal.arena import Arena, header
from checkpointheal.errors import ArenaDoesNotFit, Misuse, NoArena, NotSealed, SlotDamaged

# Python 3.12 warns that a child of a process with threads may deadlock; these children run a few lines and die.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

SCHEMA = build.a_schema()


def test_what_was_sealed_is_read_back(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    slot = build.commit(arena, SCHEMA, step=7)
    with Arena.open(tmp_path).read(slot) as reading:
        assert build.is_whole(reading)
        assert reading.schema == SCHEMA
        assert (reading.seal.step, reading.seal.values) == (7, (7,))
        assert b"".join(bytes(piece) for piece in reading.chunks(100)) == bytes(reading.data)
        assert reading.data.readonly


def test_slots_alternate_and_the_newest_two_steps_stay(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    assert [build.commit(arena, SCHEMA, step) for step in range(1, 6)] == [0, 1, 0, 1, 0]
    assert {slot: seal.step for slot, seal in arena.seals().items()} == {0: 5, 1: 4}


def test_a_third_slot_keeps_a_third_generation(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA, slots=3)
    for step in range(1, 6):
        build.commit(arena, SCHEMA, step)
    assert sorted(seal.step for seal in arena.seals().values()) == [3, 4, 5]


def test_an_unsealed_slot_is_taken_before_any_sealed_one(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    for step in (1, 2):
        build.commit(arena, SCHEMA, step)
    arena.discard(1)
    writing = arena.begin()
    assert writing is not None
    assert writing.slot == 1


def test_a_pinned_slot_is_not_taken(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    for step in (1, 2):
        build.commit(arena, SCHEMA, step)
    with Arena.open(tmp_path).read(0) as reading:
        assert build.commit(arena, SCHEMA, 3) == 1
        assert build.is_whole(reading)
    assert build.commit(arena, SCHEMA, 4) == 0


def test_a_pin_ends_with_its_reading_even_while_its_bytes_are_still_referred_to(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    build.commit(arena, SCHEMA, 1)
    with arena.read(0) as reading:
        data = reading.data
    assert build.commit(arena, SCHEMA, 2, keep=[1]) == 0
    assert bytes(data) == build.pattern(SCHEMA, 2)


def test_no_slot_is_free_when_all_are_pinned_or_kept(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    for step in (1, 2):
        build.commit(arena, SCHEMA, step)
    with arena.read(0):
        assert arena.begin(keep=[1]) is None
        with arena.read(1):
            assert arena.begin() is None
    assert {seal.step for seal in arena.seals().values()} == {1, 2}


def test_one_slot_has_one_writer(tmp_path: Path) -> None:
    arena, other = build.an_arena(tmp_path, SCHEMA), Arena.open(tmp_path)
    mine, theirs = arena.begin(), other.begin()
    assert mine is not None
    assert theirs is not None
    assert {mine.slot, theirs.slot} == {0, 1}
    assert other.begin() is None


def test_an_unpinned_reading_learns_that_its_slot_was_taken(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    build.commit(arena, SCHEMA, 1)
    with Arena.open(tmp_path).read(0, pin=False) as reading:
        assert reading.still_sealed()
        assert build.commit(arena, SCHEMA, 1, keep=[1]) == 0
        assert not reading.still_sealed(), "the same words on a new seal are another generation"


def test_a_slot_in_writing_cannot_be_read(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    writing = arena.begin()
    assert writing is not None
    with pytest.raises(NotSealed, match="being written"):
        arena.read(writing.slot)
    with pytest.raises(NotSealed, match="no sealed generation"):
        arena.read(writing.slot, pin=False)
    with pytest.raises(NotSealed, match="does not exist"):
        arena.read(9)


def test_nothing_is_lost_before_the_slot_is_prepared(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    build.commit(arena, SCHEMA, 1)
    writing = arena.begin(keep=[1])
    assert writing is not None
    with pytest.raises(ArenaDoesNotFit, match=r"reserve\(\) that many"):
        writing.prepare(build.a_schema(100_000))
    writing.abandon()
    with arena.read(0) as reading:
        assert build.is_whole(reading)


def test_an_abandoned_writing_leaves_its_bytes_for_the_next_attempt(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    writing = arena.begin()
    assert writing is not None
    build.fill(SCHEMA, writing, 3)
    writing.abandon()
    assert arena.seals() == {}
    again = Arena.open(tmp_path).begin()
    assert again is not None
    assert again.slot == writing.slot
    assert bytes(again.prepare(SCHEMA)) == build.pattern(SCHEMA, 3)


def test_a_writing_ends_once(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    writing = arena.begin()
    assert writing is not None
    build.fill(SCHEMA, writing, 1)
    seal = build.a_seal(SCHEMA, writing, 1)
    writing.seal(seal)
    writing.abandon()
    assert arena.seals() == {0: seal}
    for again in (lambda: writing.seal(seal), lambda: writing.prepare(SCHEMA)):
        with pytest.raises(Misuse, match="has ended"):
            again()


def test_a_seal_that_speaks_of_other_bytes_is_refused(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    writing = arena.begin()
    assert writing is not None
    with pytest.raises(Misuse, match="prepared for"):
        writing.seal(build.a_seal(SCHEMA, writing, 1))
    writing.prepare(SCHEMA)
    for wrong in ({"header_bytes": 4097}, {"data_bytes": 1}):
        with pytest.raises(Misuse, match="prepared for"):
            writing.seal(build.a_seal(SCHEMA, writing, 1, **wrong))
    assert arena.seals() == {}


def test_a_directory_that_is_no_arena_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("missing", "file", "."):
        with pytest.raises(NoArena, match=str(tmp_path / name)):
            Arena.open(tmp_path / name)
    with pytest.raises(NoArena, match="file"):
        Arena.create(tmp_path / "file" / "arena")
    with pytest.raises(Misuse, match="2 or more"):
        Arena.create(tmp_path / "arena", slots=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_creating_again_keeps_what_is_there(tmp_path: Path) -> None:
    build.commit(build.an_arena(tmp_path, SCHEMA, slots=3), SCHEMA, 4)
    arena = Arena.create(tmp_path)
    assert [seal.step for seal in arena.seals().values()] == [4]
    assert [build.commit(arena, SCHEMA, step) for step in (5, 6)] == [1, 2], "the third slot is still one"


@pytest.mark.parametrize("dtype", sorted(build.TORCH_NAMES))
def test_a_slot_is_a_safetensors_file(tmp_path: Path, dtype: str) -> None:
    schema = build.a_schema(3, 1000, 0, 17, dtype=dtype)
    arena = build.an_arena(tmp_path, schema)
    build.commit(arena, schema, 9)
    wanted = build.pattern(schema, 9)
    with safe_open(tmp_path / "slot-0.safetensors", framework="numpy") as file:
        assert Arena.slot_bytes(schema) <= (tmp_path / "slot-0.safetensors").stat().st_size
        for index, region in enumerate(schema.each_region):
            found = file.get_slice(f"region.{index:04d}")
            assert found.get_dtype() == dtype
            if dtype != "BF16":
                held = file.get_tensor(f"region.{index:04d}").tobytes()
                assert held == wanted[region.offset : region.offset + region.nbytes]
        assert set(file.metadata()) == {"checkpointheal"}


def test_a_region_of_a_dtype_that_safetensors_does_not_know_is_bytes(tmp_path: Path) -> None:
    schema = build.a_schema(16)
    odd = schema.regions.model_copy(update={"dtypes": ("Q9",)})
    schema = schema.model_copy(update={"regions": odd})
    build.commit(build.an_arena(tmp_path, schema), schema, 2)
    with safe_open(tmp_path / "slot-0.safetensors", framework="numpy") as file:
        assert file.get_tensor("region.0000").tobytes() == build.pattern(schema, 2)


def test_a_region_that_is_no_whole_number_of_elements_is_bytes(tmp_path: Path) -> None:
    schema = build.a_schema(10, dtype="U8")
    odd = schema.regions.model_copy(update={"dtypes": ("F32",)})
    schema = schema.model_copy(update={"regions": odd})
    build.commit(build.an_arena(tmp_path, schema), schema, 2)
    with safe_open(tmp_path / "slot-0.safetensors", framework="numpy") as file:
        assert file.get_tensor("region.0000").tobytes() == build.pattern(schema, 2)


def test_a_header_that_safetensors_would_not_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = build.a_schema(*range(1, 100))
    monkeypatch.setattr(header, "HEADER_LIMIT", Arena.slot_bytes(schema) - schema.data_bytes)
    assert Arena.slot_bytes(schema)
    monkeypatch.setattr(header, "HEADER_LIMIT", header.HEADER_LIMIT - 1)
    with pytest.raises(Misuse, match="merge tensors"):
        Arena.slot_bytes(schema)


def test_where_no_directory_can_be_made_the_error_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NoArena, match="no arena can be made at"):
        Arena.create(tmp_path / "file" / "arena")


def test_a_schema_whose_regions_reach_past_its_data_section_is_refused() -> None:
    schema = build.a_schema(64, 64)
    with pytest.raises(Misuse, match="region 2"):
        Arena.slot_bytes(schema.model_copy(update={"data_bytes": 100}))


def test_another_schema_in_the_same_slot_finds_zeros_between_its_regions(tmp_path: Path) -> None:
    dense, gappy = build.a_schema(4000, dtype="U8"), build.a_schema(1, 1, 1, 1, 1)
    arena = build.an_arena(tmp_path, dense)
    for step, schema in enumerate((dense, gappy, dense, gappy), start=1):
        slot = build.commit(arena, schema, step, keep=[1])
        with arena.read(slot) as reading:
            assert build.is_whole(reading)
        with safe_open(tmp_path / "slot-0.safetensors", framework="numpy") as file:
            assert len([name for name in file.keys() if name.startswith("region")]) == len(schema.regions)  # noqa: SIM118


def test_an_unchanged_schema_does_not_rewrite_the_header(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    writing = arena.begin()
    assert writing is not None
    data = writing.prepare(SCHEMA)
    data[13] = 99  # in a gap, where only a new header would write
    writing.abandon()
    again = arena.begin()
    assert again is not None
    assert again.prepare(SCHEMA)[13] == 99


def test_a_broken_header_is_written_again(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    build.commit(arena, SCHEMA, 1)
    with (tmp_path / "slot-0.safetensors").open("r+b") as file:
        file.seek(50)
        file.write(b"torn")
    with arena.read(0) as reading, pytest.raises(SlotDamaged, match="header"):
        _ = reading.schema
    build.commit(arena, SCHEMA, 2, keep=[1])
    with arena.read(0) as reading:
        assert build.is_whole(reading)


def test_a_forked_child_does_not_keep_the_locks_of_a_dead_trainer(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    build.commit(arena, SCHEMA, 1)
    hold, let_go = os.pipe()
    ready_read, ready = os.pipe()
    trainer = os.fork()
    if trainer == 0:
        lock = Arena.open(tmp_path).hold_trainer_lock()
        lock.__enter__()
        mine = Arena.open(tmp_path)
        writing = mine.begin(keep=[0])
        reading = mine.read(0)
        kept = reading.data, writing and writing.prepare(SCHEMA)
        if os.fork() == 0:
            os.close(let_go)
            os.write(ready, b"!")
            os.read(hold, 1)
            os._exit(len(kept) and 0)
        os._exit(9)
    os.close(ready)
    os.waitpid(trainer, 0)
    assert os.read(ready_read, 1) == b"!"
    try:
        with arena.hold_trainer_lock():
            for name in ("slot-0.safetensors", "slot-1.safetensors"):
                with (tmp_path / name).open() as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(let_go)
        os.close(hold)
        os.close(ready_read)
