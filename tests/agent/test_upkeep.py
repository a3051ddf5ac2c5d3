"""What memory holds of a future that will not come goes; what somebody may still need stays."""

import contextlib
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import builders_agent as agents
import builders_arena as build
from checkpointheal.agent.flaws import LINGER, Flaws
from checkpointheal.agent.keep import Keep
from checkpointheal.agent.shelf import Shelf
from checkpointheal.agent.upkeep import Upkeep
from checkpointheal.arena import Arena, beside, room
from checkpointheal.contract.orders import EpochOrder

SCHEMA, MIB = build.a_schema(), 1 << 20
OTHER = agents.a_member(1)


class Place:
    """An arena with generations of steps 7 and 8, sealed in epoch 1, and private parts up to step 9."""

    def __init__(self, home: Path) -> None:
        self.arena, self.keep = build.an_arena(home, SCHEMA), Keep()
        self.now = 0.0
        self.flaws = flaws = Flaws(lambda: self.now)
        for step in (7, 8):
            build.commit(self.arena, SCHEMA, step)
        for step in range(10):
            self.arena.write_private(step, b"stream")
            self.keep.put(OTHER, step, b"stream", range(10))
        self.shelf = Shelf(self.arena, lambda: None, flaws)
        self.upkeep = Upkeep(self.arena, self.shelf, self.keep, flaws)

    @property
    def sealed(self) -> list[int]:
        """As the shelf shows them."""
        return sorted(each.step for each in self.shelf.generations(frozenset()))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.shelf.close()


def an_order(step: int | None, **more: object) -> EpochOrder:
    return EpochOrder.model_validate({"epoch": 2, "over": False, "step": step} | more)


@pytest.mark.parametrize(
    ("order", "sealed", "steps"),
    [
        (an_order(7), [7], range(8)),
        (an_order(8), [7, 8], range(9)),
        (an_order(8, missed_since=2), [], range(9)),
        (an_order(None), [], range(0)),
    ],
    ids=["the step before the last", "the last step", "others went on without it", "from nobody's memory"],
)
def test_nothing_stays_that_is_not_of_the_epochs_past(
    place: Place, order: EpochOrder, sealed: list[int], steps: range
) -> None:
    place.upkeep.drop_future(order)
    assert place.sealed == sealed
    assert place.upkeep.private_steps == {*steps}
    assert [step for step in range(10) if place.keep.get(OTHER, step)] == [*steps]


@pytest.mark.parametrize(
    ("order", "stay"),
    [
        (None, {7, 8, 9}),
        (an_order(4), {7, 8, 9}),
        (an_order(4, private_step=3), {3, 7, 8, 9}),
    ],
    ids=["no epoch yet", "an epoch", "an epoch that began with an earlier part"],
)
def test_private_parts_stay_that_are_new_or_needed(place: Place, order: EpochOrder | None, stay: set[int]) -> None:
    place.upkeep.tidy(order)
    assert place.upkeep.private_steps == stay


def test_private_parts_of_what_is_sealed_stay_however_many_are_newer(place: Place) -> None:
    for step in range(20, 30):
        place.arena.write_private(step, b"stream")
    place.upkeep.tidy(None)
    assert place.upkeep.private_steps == {7, 8, 27, 28, 29}


@pytest.mark.parametrize("pinned", [False, True], ids=["", "one generation is being read"])
@pytest.mark.parametrize("size", [MIB, 2 * MIB], ids=["of 1 MiB", "of 2 MiB"])
def test_where_there_is_room_for_the_parts_that_are_needed_no_step_finds_none(
    small: Path, size: int, pinned: bool
) -> None:
    arena = Arena.create(small)
    arena.reserve(MIB, Arena.part_bytes(size))
    build.resize(small, 2 * MIB + beside.spare_bytes(2, Arena.part_bytes(size)))
    upkeep = Upkeep(arena, Shelf(arena, lambda: None, flaws := Flaws(lambda: 0.0)), Keep(), flaws)
    order = an_order(1, private_step=0)
    with contextlib.ExitStack() as stack:
        for step in range(12):
            arena.write_private(step, bytes(size))
            upkeep.tidy(order)
            assert build.commit(arena, SCHEMA, step) is not None
            upkeep.tidy(order)
            if step == 3 and pinned:
                stack.enter_context(arena.read(next(slot for slot, seal in arena.seals().items() if seal.step == 3)))
    assert {0, *([3] if pinned else []), 11} <= {*arena.private_steps()}


def test_parts_that_nobody_needs_go_where_the_next_one_would_find_no_room(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(20, 30):
        place.arena.write_private(step, b"stream")
    monkeypatch.setattr(room, "medium_left", lambda _folder: 0)
    place.upkeep.tidy(an_order(4, private_step=3))
    assert place.upkeep.private_steps == {3, 7, 8, 29}


@pytest.mark.parametrize(
    "act", [lambda it: it.tidy(None), lambda it: it.drop_future(an_order(10))], ids=["tidy", "drop"]
)
def test_a_part_that_comes_at_this_moment_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch, act: Callable[[Upkeep], None]
) -> None:
    look = place.arena.private_steps

    def steps() -> tuple[int, ...]:
        found = look()
        place.arena.write_private(10, b"the trainer's next commit")
        return found

    monkeypatch.setattr(place.arena, "private_steps", steps)
    act(place.upkeep)
    assert place.arena.read_private(10)


def test_an_old_part_that_cannot_go_is_told_once_and_stops_nobody(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / place.arena.write_private(0, b"stream")
    file.unlink()
    file.mkdir()
    for _ in range(2):
        place.upkeep.tidy(None)
    assert [record.message for record in caplog.records] == [
        f"old private parts stay: {file.name} cannot be removed: Is a directory"
    ]


@contextlib.contextmanager
def no_descriptor_to_spare() -> Iterator[None]:
    """As where a process has as many files open as it may."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_an_arena_that_cannot_be_read_now_is_a_flaw_and_ends_no_agent(place: Place) -> None:
    before = place.upkeep.private_steps
    with no_descriptor_to_spare():
        assert place.upkeep.private_steps == before == {*range(10)}
        place.upkeep.tidy(None)
        assert [each.reason for each in place.flaws.standing()] == ["ArenaUnusable"]
    place.arena.remove_private(range(9))
    assert place.upkeep.private_steps == {9}
    place.now = LINGER
    assert place.flaws.standing() == ()
