"""A generation counts once its agent has read it through, and only as long as it lies there unchanged."""

import asyncio
from pathlib import Path

import pytest

import builders_arena as build
from checkpointheal import digest
from checkpointheal.agent.flaws import LINGER, Flaws
from checkpointheal.agent.shelf import Shelf
from checkpointheal.arena import Arena

SCHEMA = build.a_schema()


def no_flaws() -> Flaws:
    return Flaws(lambda: 0.0)


def words(flaws: Flaws) -> list[str]:
    return [each.reason for each in flaws.standing()]


async def digested(arena: Arena, wanted: int) -> Shelf:
    """A shelf that has read `wanted` generations."""
    changed = asyncio.Event()
    shelf = Shelf(arena, changed.set, no_flaws())
    reading = asyncio.create_task(shelf.digest_forever())
    while len(shelf.identities()) < wanted:
        await asyncio.wait_for(changed.wait(), 20)
        changed.clear()
    reading.cancel()
    shelf.close()
    return shelf


def test_a_sealed_generation_is_told_at_once_and_digested_later(tmp_path: Path) -> None:
    async def story() -> None:
        arena = build.an_arena(tmp_path, SCHEMA)
        build.commit(arena, SCHEMA, 7)
        fresh = Shelf(arena, lambda: None, no_flaws())
        assert [(g.step, g.state_digest, g.private) for g in fresh.generations(frozenset({7}))] == [(7, None, True)]
        assert fresh.identities() == {}
        fresh.close()
        (identity,) = (await digested(arena, 1)).identities().values()
        assert identity.step == 7

    asyncio.run(story())


def test_what_was_sealed_in_an_earlier_epoch_may_be_left_aside(tmp_path: Path) -> None:
    async def story() -> None:
        arena = build.an_arena(tmp_path, SCHEMA)
        build.commit(arena, SCHEMA, 7)
        shelf = await digested(arena, 1)
        (seal,) = arena.seals().values()
        assert shelf.identities(seal.epoch) == shelf.identities() != {}
        assert shelf.identities(seal.epoch + 1) == {}

    asyncio.run(story())


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    async def story() -> None:
        arena = build.an_arena(tmp_path, SCHEMA)
        build.commit(arena, SCHEMA, 7)
        shelf = await digested(arena, 1)
        chunks = digest.chunk_digests(build.pattern(SCHEMA, 7))
        assert shelf.identities()[0].state_digest == digest.state_digest(digest.schema_digest(SCHEMA), (7,), chunks)

    asyncio.run(story())


def test_generations_come_highest_step_first(tmp_path: Path) -> None:
    async def story() -> None:
        arena = build.an_arena(tmp_path, SCHEMA)
        for step in (3, 4):
            build.commit(arena, SCHEMA, step)
        shelf = await digested(arena, 2)
        assert [g.step for g in shelf.generations(frozenset())] == [4, 3]
        assert shelf.slot_of(shelf.identities()[0]) == 0

    asyncio.run(story())


def test_a_slot_that_was_overwritten_loses_its_old_digest(tmp_path: Path) -> None:
    async def story() -> None:
        arena = build.an_arena(tmp_path, SCHEMA)
        for step in (3, 4):
            build.commit(arena, SCHEMA, step)
        shelf = await digested(arena, 2)
        old = shelf.identities()[0]
        build.commit(arena, SCHEMA, 5)
        shelf.look()
        assert shelf.slot_of(old) is None
        assert [(g.step, g.state_digest is None) for g in shelf.generations(frozenset())] == [(5, True), (4, False)]

    asyncio.run(story())


def test_a_generation_that_cannot_be_read_is_not_offered(tmp_path: Path) -> None:
    async def story() -> None:
        arena = build.an_arena(tmp_path, SCHEMA)
        for step in (3, 4):
            build.commit(arena, SCHEMA, step)
        shelf = Shelf(arena, lambda: None, flaws := no_flaws())
        with (tmp_path / "slot-1.safetensors").open("r+b") as file:
            file.truncate(100)
        reading = asyncio.create_task(shelf.digest_forever())
        while not shelf.identities():
            await asyncio.sleep(0)
        reading.cancel()
        shelf.close()
        assert [identity.step for identity in shelf.identities().values()] == [3]
        assert words(flaws) == ["SlotDamaged"]

    asyncio.run(story())


@pytest.mark.parametrize("damaged", [False, True], ids=["unchanged bytes", "a flipped bit"])
@pytest.mark.parametrize("arrived", [False, True], ids=["made here", "received"])
def test_a_doubted_generation_counts_again_only_if_its_bytes_are_the_same(
    tmp_path: Path, damaged: bool, arrived: bool
) -> None:
    async def story() -> None:
        arena = build.an_arena(tmp_path, SCHEMA)
        digest_of = digest.state_digest(
            digest.schema_digest(SCHEMA), (3,), digest.chunk_digests(build.pattern(SCHEMA, 3))
        )
        writing = arena.begin()
        assert writing is not None
        build.fill(SCHEMA, writing, 3)
        writing.seal(build.a_seal(SCHEMA, writing, 3, state_digest=digest_of if arrived else None))
        shelf = await digested(arena, 1)
        reborn = Shelf(arena, (news := asyncio.Event()).set, flaws := no_flaws())
        reading = asyncio.create_task(reborn.digest_forever())
        await asyncio.wait_for(news.wait(), 20)
        news.clear()
        if damaged:
            with (tmp_path / "slot-0.safetensors").open("r+b") as file:
                file.seek(writing.header_bytes)
                file.write(b"\xff")
        reborn.doubt()
        assert reborn.identities() == {}, "it does not count while it is doubted"
        await asyncio.wait_for(news.wait(), 20)
        reading.cancel()
        reborn.close()
        assert reborn.identities() == ({} if damaged else shelf.identities())
        assert len(arena.seals()) == (0 if damaged else 1)
        assert words(flaws) == (["BytesDiffer"] if damaged else [])

    asyncio.run(story())


def test_a_seal_that_cannot_be_believed_is_a_flaw_until_the_slot_is_sealed_again(tmp_path: Path) -> None:
    now = 0.0

    async def story() -> None:
        nonlocal now
        arena = build.an_arena(tmp_path, SCHEMA)
        build.commit(arena, SCHEMA, 7)
        (tmp_path / "slot-0.seal.json").write_text("{}")
        shelf = Shelf(arena, lambda: None, flaws := Flaws(lambda: now))
        assert words(flaws) == ["SlotDamaged"]
        assert build.commit(arena, SCHEMA, 8) == 0
        shelf.look()
        now = LINGER
        assert words(flaws) == []
        shelf.close()

    asyncio.run(story())
