"""Private parts reach the buddies over HTTP, come back from whoever has them, and survive buddies that are gone."""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

import builders_agent as build
from checkpointheal.agent import private_parts
from checkpointheal.agent.keep import Keep
from checkpointheal.agent.peer_door import PeerDoor, Peers
from checkpointheal.agent.peer_trust import ByKey
from checkpointheal.agent.private_parts import PrivateParts
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.arena import Arena
from checkpointheal.contract.base import MOST
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.orders import Peer
from checkpointheal.contract.trainer import PRIVATE_AT_MOST
from checkpointheal.errors import PeerLost


@asynccontextmanager
async def a_buddy(replica: int, keep: Keep, key: str = build.KEY, limit: int = 1 << 20) -> AsyncIterator[Peer]:
    door = PeerDoor(ByKey(key), keep, limit)
    endpoint = await door.open("127.0.0.1", 0)
    try:
        yield build.a_peer(replica, endpoint.port)
    finally:
        await door.close()


@asynccontextmanager
async def parts_of(arena: Arena) -> AsyncIterator[tuple[PrivateParts, list[tuple[int, int]]]]:
    told: list[tuple[int, int]] = []
    async with aiohttp.ClientSession() as session:
        peers = Peers(session, ByKey(build.KEY))
        yield PrivateParts(build.a_member(0), arena, peers, lambda step, kept: told.append((step, kept))), told


def test_every_buddy_keeps_it_and_the_trainer_hears_once(tmp_path: Path) -> None:
    async def story() -> None:
        arena = Arena.create(tmp_path)
        arena.write_private(4, b"stream")
        keeps = Keep(), Keep()
        async with a_buddy(1, keeps[0]) as one, a_buddy(2, keeps[1]) as two, parts_of(arena) as (parts, told):
            await parts.hand_over(4, [one, two])
        assert told == [(4, 1)]
        assert [keep.get(build.a_member(0), 4) for keep in keeps] == [b"stream", b"stream"]

    asyncio.run(story())


def test_a_buddy_that_is_gone_does_not_keep_the_other_from_counting(tmp_path: Path) -> None:
    async def story() -> None:
        arena = Arena.create(tmp_path)
        arena.write_private(4, b"stream")
        async with a_buddy(1, Keep()) as gone:
            pass
        async with a_buddy(2, keep := Keep()) as there, parts_of(arena) as (parts, told):
            await parts.hand_over(4, [gone, there])
        assert told == [(4, 1)]
        assert keep.get(build.a_member(0), 4) == b"stream"

    asyncio.run(story())


def test_what_is_still_here_is_handed_on_to_buddies_that_are_new_and_nobody_counts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_parts, "RETRY_SECONDS", 0)

    async def story() -> None:
        arena = Arena.create(tmp_path)
        for step in (4, 5):
            arena.write_private(step, b"stream %d" % step)
        async with a_buddy(1, Keep()) as gone:
            pass
        async with a_buddy(2, keep := Keep()) as there, parts_of(arena) as (parts, told):
            await parts.hand_on([gone, there])
        assert told == []
        assert [keep.get(build.a_member(0), step) for step in (4, 5)] == [b"stream 4", b"stream 5"]

    asyncio.run(story())


def test_a_buddy_that_cannot_take_it_yet_and_an_arena_that_cannot_be_read_now_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_parts, "RETRY_SECONDS", 0)

    async def story() -> None:
        arena, line = Arena.create(tmp_path), Line()
        arena.write_private(4, b"stream")
        look = arena.private_steps
        troubles = [OSError(errno.EMFILE, "Too many open files")]

        def steps() -> tuple[int, ...]:
            if troubles:
                raise troubles.pop()
            return look()

        monkeypatch.setattr(arena, "private_steps", steps)
        line.silent = 2
        await line.parts_of(arena).hand_on([build.a_peer(1)])
        assert line.asked == [("1/0", 4)] * 3

    asyncio.run(story())


def test_a_buddy_that_refuses_what_is_still_here_is_not_asked_again(tmp_path: Path) -> None:
    async def story() -> None:
        arena, line = Arena.create(tmp_path), Line()
        arena.write_private(4, b"stream")
        line.takes = False
        await line.parts_of(arena).hand_on([build.a_peer(1)])
        assert line.asked == [("1/0", 4)]

    asyncio.run(story())


class Line(Peers):
    """To buddies that answer once they are let, but not the first times that they are asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.told: list[tuple[int, int]] = []
        self.silent = 0
        self.takes = True
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    def parts_of(self, arena: Arena) -> PrivateParts:
        return PrivateParts(build.a_member(0), arena, self, lambda step, kept: self.told.append((step, kept)))

    async def put_private(self, buddy: Peer, member: MemberId, step: int, blob: bytes) -> bool:
        self.asked.append((str(buddy.member), step))
        await self.goes_on.wait()
        self.silent -= 1
        if self.silent >= 0:
            raise PeerLost(f"{buddy.pod} does not answer")
        return self.takes


def test_a_buddy_takes_one_part_at_a_time_and_the_latest_next_and_only_what_it_has_counts(tmp_path: Path) -> None:
    async def story() -> None:
        arena, line = Arena.create(tmp_path), Line()
        parts = line.parts_of(arena)
        line.goes_on.clear()
        for step in (4, 5, 6):
            arena.write_private(step, b"stream")
        async with asyncio.TaskGroup() as tasks:
            for step in (4, 5, 6):
                tasks.create_task(parts.hand_over(step, [build.a_peer(1), build.a_peer(2)]))
            while len(line.asked) < 2:
                await asyncio.sleep(0)
            assert sorted(line.asked) == [("1/0", 4), ("2/0", 4)]
            line.goes_on.set()
        assert sorted(line.asked[2:]) == [("1/0", 6), ("2/0", 6)]
        assert line.told == [(4, 1), (6, 1)]

    asyncio.run(story())


def test_what_waits_for_a_buddy_is_not_what_no_buddy_takes(tmp_path: Path) -> None:
    async def story() -> None:
        arena, line = Arena.create(tmp_path), Line()
        parts = line.parts_of(arena)
        line.goes_on.clear()
        for step in range(9):
            arena.write_private(step, b"stream")
        async with asyncio.TaskGroup() as tasks:
            for step in range(8):
                tasks.create_task(parts.hand_over(step, [build.a_peer(1)]))
            while not line.asked:
                await asyncio.sleep(0)
            line.silent = 1
            line.goes_on.set()
        assert (line.asked, line.told, parts.flaw) == ([("1/0", 0), ("1/0", 7)], [(7, 1)], None)
        line.silent = 1
        await parts.hand_over(8, [build.a_peer(1)])
        assert parts.flaw is None, "a part was taken in between"

    asyncio.run(story())


def test_that_no_buddy_takes_it_is_over_where_there_is_none_to_be_had(tmp_path: Path) -> None:
    async def story() -> None:
        arena, line = Arena.create(tmp_path), Line()
        parts, line.takes = line.parts_of(arena), False
        for step in (4, 5, 6):
            arena.write_private(step, b"stream")
        for step in (4, 5):
            await parts.hand_over(step, [build.a_peer(1)])
        assert parts.flaw is not None
        await parts.hand_over(6, [])
        assert (parts.flaw, line.told) == (None, [(6, 0)])

    asyncio.run(story())


def test_a_part_that_cannot_be_read_is_one_that_no_buddy_takes(tmp_path: Path) -> None:
    async def story() -> None:
        arena, line = Arena.create(tmp_path), Line()
        for step in (4, 5):
            (tmp_path / arena.write_private(step, b"stream")).unlink()
            (tmp_path / f"private-{step}.bin").mkdir()
        parts = line.parts_of(arena)
        for step in (4, 5):
            await parts.hand_over(step, [build.a_peer(1)])
        assert parts.flaw is not None
        assert "private-5.bin is not a regular file" in parts.flaw.message
        assert line.asked == line.told == []

    asyncio.run(story())


@pytest.mark.parametrize("buddies", [0, 1], ids=["a job of one member", "the only buddy is gone"])
def test_who_keeps_nothing_is_not_counted(tmp_path: Path, buddies: int) -> None:
    async def story() -> None:
        arena = Arena.create(tmp_path)
        arena.write_private(4, b"stream")
        async with parts_of(arena) as (parts, told):
            await parts.hand_over(4, [build.a_peer(1)] * buddies)
        assert told == ([] if buddies else [(4, 0)])

    asyncio.run(story())


def test_what_no_buddy_takes_twice_in_a_row_is_a_flaw_until_one_does(tmp_path: Path) -> None:
    async def story() -> None:
        arena = Arena.create(tmp_path)
        for step in (4, 5, 6):
            arena.write_private(step, b"stream")
        async with a_buddy(1, Keep()) as gone:
            pass
        async with a_buddy(2, Keep()) as there, parts_of(arena) as (parts, _):
            await parts.hand_over(4, [gone])
            assert parts.flaw is None, "one step may be lost with the buddy that dies"
            await parts.hand_over(5, [gone])
            assert parts.flaw is not None
            assert (parts.flaw.reason, "of step 5: 1/0: " in parts.flaw.message) == ("PrivatePartNotKept", True)
            await parts.hand_over(6, [gone, there])
            assert parts.flaw is None

    asyncio.run(story())


def test_a_part_that_was_dropped_meanwhile_is_not_handed_over(tmp_path: Path) -> None:
    async def story() -> None:
        async with parts_of(Arena.create(tmp_path)) as (parts, told):
            await parts.hand_over(4, [build.a_peer(1)])
        assert told == []

    asyncio.run(story())


def test_it_comes_back_from_the_first_who_has_it(tmp_path: Path) -> None:
    async def story() -> None:
        arena, full = Arena.create(tmp_path), Keep()
        full.put(build.a_member(0), 4, b"stream", ())
        async with a_buddy(1, Keep()) as empty, a_buddy(2, full) as holder, parts_of(arena) as (parts, _):
            fetching = parts.fetch(4, [build.a_peer(9), empty, holder])
            assert parts.fetching == 4, "under way before its first step"
            await fetching
            assert parts.fetching is None
        assert arena.read_private(4) == b"stream"

    asyncio.run(story())


def test_one_round_without_luck_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_parts, "RETRY_SECONDS", 0)

    async def story() -> None:
        arena = Arena.create(tmp_path)
        async with a_buddy(1, Keep()) as empty, parts_of(arena) as (parts, _):
            await parts.fetch(4, [empty])
            assert parts.fetching is None
        assert arena.read_private(4) is None

    asyncio.run(story())


def test_an_agent_of_another_job_neither_leaves_nor_takes() -> None:
    async def story() -> None:
        keep = Keep()
        keep.put(build.a_member(0), 4, b"stream", ())
        async with a_buddy(1, keep, key="another job's") as stranger, aiohttp.ClientSession() as session:
            peers = Peers(session, ByKey(build.KEY))
            assert await peers.put_private(stranger, build.a_member(0), 5, b"x") is False
            assert await peers.get_private(stranger, build.a_member(0), 4) is None
        assert [held.steps for held in keep.held()] == [(4,)]

    asyncio.run(story())


def test_the_largest_part_that_a_trainer_may_have_is_taken_by_an_agent_as_it_is_set() -> None:
    async def story() -> None:
        keep, limit = Keep(), AgentSettings.model_fields["private_limit"].default
        async with a_buddy(1, keep, limit=limit) as buddy, aiohttp.ClientSession() as session:
            part = bytes(PRIVATE_AT_MOST)
            assert await Peers(session, ByKey(build.KEY)).put_private(buddy, build.a_member(0), 5, part)
        assert [held.steps for held in keep.held()] == [(5,)]

    asyncio.run(story())


@pytest.mark.parametrize("named", [f"1/0/{MOST + 1}", f"{MOST + 1}/0/5", f"1/{'9' * 5000}/5"])
def test_a_part_of_no_step_or_no_member_is_refused_by_the_buddy(named: str) -> None:
    async def story() -> None:
        keep, headers = Keep(), {"Authorization": f"Bearer {build.KEY}"}
        async with a_buddy(1, keep) as buddy, aiohttp.ClientSession(headers=headers) as session:
            url = f"http://{buddy.endpoint}/v1/private/{named}"
            async with session.put(url, data=b"x") as response:
                assert response.status == 400
        assert keep.held() == ()

    asyncio.run(story())


def test_a_part_over_the_limit_is_refused_by_the_buddy() -> None:
    async def story() -> None:
        keep = Keep()
        async with a_buddy(1, keep) as buddy, aiohttp.ClientSession() as session:
            try:
                taken = await Peers(session, ByKey(build.KEY)).put_private(buddy, build.a_member(0), 5, bytes(2 << 20))
            except PeerLost:
                taken = False  # the buddy hangs up while megabytes are still on their way
            assert taken is False
        assert keep.held() == ()

    asyncio.run(story())
