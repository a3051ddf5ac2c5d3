"""One trainer at a time, whichever users share the directory and whatever their umask."""

import os
import stat
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import builders_arena as build
from checkpointheal.arena import Arena
from checkpointheal.errors import AlreadyAttached

# Python 3.12 warns that a child of a process with threads may deadlock; these children run a few lines and die.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

SCHEMA = build.a_schema()


@contextmanager
def a_child(act: Callable[[], None]) -> Iterator[int]:
    """Another process that has done `act` and now stands still; killed at the end."""
    done, say_done = os.pipe()
    stand, let_go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(let_go)
        try:
            act()
            os.write(say_done, b"!")
            os.read(stand, 1)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(say_done)
    try:
        assert os.read(done, 1) == b"!", "the child failed"
        yield child
    finally:
        for fd in (done, stand, let_go):
            os.close(fd)
        os.waitpid(child, 0)


def as_user(uid: int, act: Callable[[], None]) -> Callable[[], None]:
    def acting() -> None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        act()

    return acting


def test_a_second_trainer_is_told_that_one_is_attached(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    held = ExitStack()
    with (
        a_child(lambda: held.enter_context(Arena.open(tmp_path).hold_trainer_lock())),
        pytest.raises(AlreadyAttached, match=str(tmp_path)),
        arena.hold_trainer_lock(),
    ):
        pass
    with arena.hold_trainer_lock(), pytest.raises(AlreadyAttached), Arena.open(tmp_path).hold_trainer_lock():
        pass
    with arena.hold_trainer_lock():
        pass


def test_the_slot_of_a_writer_that_stands_still_is_not_given_to_another(tmp_path: Path) -> None:
    arena = build.an_arena(tmp_path, SCHEMA)
    for step in (1, 2):
        build.commit(arena, SCHEMA, step)
    stale: list[object] = []
    with a_child(lambda: stale.append(Arena.open(tmp_path).begin())):
        assert [build.commit(arena, SCHEMA, step) for step in (3, 4)] == [1, 1]
    assert build.commit(arena, SCHEMA, 5) == 0


def test_no_umask_shuts_the_other_user_out(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        arena = build.an_arena(tmp_path / "arena", SCHEMA)
        build.commit(arena, SCHEMA, 1)
        arena.write_private(1, b"mine")
        with arena.hold_trainer_lock():
            pass
    finally:
        os.umask(before)
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "arena").iterdir()}
    assert len(files) == 5
    assert set(files.values()) == {0o666}
    assert stat.S_IMODE((tmp_path / "arena").stat().st_mode) == 0o777


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_trainer_and_agent_may_be_different_users(tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_mode & 0o005 == 0o005:
            break
        parent.chmod(0o755)
    volume = tmp_path / "volume"  # as a kubelet makes one: in it nobody may replace another user's file
    volume.mkdir()
    volume.chmod(0o1777)
    directory = volume / "shared"
    os.umask(0o077)

    def agent() -> None:
        build.an_arena(directory, SCHEMA).write_private(1, b"from the agent")

    def trainer() -> None:
        arena = Arena.open(directory)
        with arena.hold_trainer_lock():
            assert arena.read_private(min(arena.private_steps())).startswith(b"from the ")
            for step in (1, 2, 3):
                build.commit(arena, SCHEMA, step)
                arena.write_private(step, b"from the trainer")
            arena.remove_private(set(arena.private_steps()) - {2, 3})

    def agent_again() -> None:
        arena = Arena.create(directory)
        arena.reserve(Arena.slot_bytes(SCHEMA) * 2)
        assert build.commit(arena, SCHEMA, 4) == 1
        arena.discard(0)
        assert arena.private_steps() == (2, 3)
        arena.write_private(2, b"from the agent")

    try:
        for uid, act in ((4001, agent), (4002, trainer), (4001, agent_again), (4003, trainer)):
            with a_child(as_user(uid, act)):
                pass
    finally:
        os.umask(0o022)
    with Arena.open(directory).read(0) as reading:
        assert build.is_whole(reading)
