"""The trainer's door hears whole words, from whoever says hello, and no garbage ends it."""

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from checkpointheal.agent import trainer_door
from checkpointheal.agent.trainer_door import TrainerDoor
from checkpointheal.contract.base import Message
from checkpointheal.contract.trainer import (
    AGENT_SAYS,
    LINE_LIMIT,
    SOCKET_NAME,
    Done,
    Hello,
    Reserved,
    TrainerSays,
    Wait,
)

TRAINER = Hello(role="trainer", incarnation="t1", pid=1)


class Door:
    """A door, and everything that was heard at it."""

    def __init__(self, directory: Path) -> None:
        self.heard: list[tuple[str, TrainerSays]] = []
        self.gone: list[str] = []
        self.full = False
        self.news = asyncio.Event()
        self.door = TrainerDoor(directory, self._hear, self._leave)

    async def _hear(self, hello: Hello, said: TrainerSays) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.heard.append((hello.incarnation, said))
        self.news.set()

    def _leave(self, hello: Hello) -> None:
        self.gone.append(hello.incarnation)
        self.news.set()

    async def until(self, *, heard: int = 0, gone: int = 0) -> None:
        while len(self.heard) < heard or len(self.gone) < gone:
            await asyncio.wait_for(self.news.wait(), 20)
            self.news.clear()


@asynccontextmanager
async def a_door(directory: Path) -> AsyncIterator[Door]:
    door = Door(directory)
    await door.door.open()
    try:
        yield door
    finally:
        await door.door.close()


async def knock(directory: Path, *words: Message | bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(directory / SOCKET_NAME)
    for word in words:
        writer.write((word if isinstance(word, bytes) else word.model_dump_json().encode()) + b"\n")
    return reader, writer


def test_words_are_heard_in_order_with_who_said_them(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_door(tmp_path) as door:
            _, writer = await knock(tmp_path, TRAINER, Wait(request=1, budget=2), Done())
            await door.until(heard=3)
            assert [(who, said.say) for who, said in door.heard] == [("t1", "hello"), ("t1", "wait"), ("t1", "done")]
            writer.close()

    asyncio.run(story())


def test_a_trainer_whose_word_the_full_arena_cannot_keep_is_let_go_after_a_while_and_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came at once, again and again."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    async def story() -> None:
        async with a_door(tmp_path) as door:
            door.full = True
            reader, writer = await knock(tmp_path, TRAINER, Wait(request=1, budget=2))
            monkeypatch.setattr(asyncio, "sleep", pause)
            assert await reader.read() == b""
            assert pauses == [trainer_door.AGAIN_AFTER]
            writer.close()
            door.full = False
            _, writer = await knock(tmp_path, TRAINER, Wait(request=1, budget=2))
            await door.until(heard=2)
            writer.close()

    asyncio.run(story())


def test_an_answer_goes_to_the_role_it_is_for(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_door(tmp_path) as door:
            reader, writer = await knock(tmp_path, TRAINER)
            await door.until(heard=1)
            assert door.door.say("trainer", Reserved()) is True
            assert door.door.say("run", Reserved()) is False
            assert AGENT_SAYS.validate_json(await reader.readline()) == Reserved()
            writer.close()

    asyncio.run(story())


def test_a_connection_that_ends_is_a_trainer_that_left(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_door(tmp_path) as door:
            _, writer = await knock(tmp_path, TRAINER)
            await door.until(heard=1)
            writer.close()
            await door.until(gone=1)
            assert door.gone == ["t1"]

    asyncio.run(story())


def test_a_newer_trainer_is_not_taken_for_gone_when_the_old_connection_ends(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_door(tmp_path) as door:
            _, old = await knock(tmp_path, TRAINER)
            await door.until(heard=1)
            reader, new = await knock(tmp_path, TRAINER.model_copy(update={"incarnation": "t2"}))
            await door.until(heard=2)
            old.close()
            door.door.say("trainer", Reserved())
            assert await reader.readline()
            new.close()
            await door.until(gone=1)
            assert door.gone == ["t2"]

    asyncio.run(story())


@pytest.mark.parametrize(
    "garbage",
    [b"", b"{}", b'{"say": "sing"}', b"\xff\xfe", b"[" * 1000, b"x" * (LINE_LIMIT + 1)],
    ids=["an empty line", "no word", "an unknown word", "no text", "deep nesting", "an endless line"],
)
def test_a_line_that_cannot_be_read_ends_that_connection_and_nothing_else_and_is_told_of(
    tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with a_door(tmp_path) as door:
            reader, bad = await knock(tmp_path, garbage)
            assert await reader.read() == b""
            bad.close()
            _, good = await knock(tmp_path, TRAINER)
            await door.until(heard=1)
            good.close()

    asyncio.run(story())
    (told,) = (record.message for record in caplog.records if record.name == "checkpointheal.agent")
    assert told.startswith("a word at the trainer's door cannot be read: ")


def test_who_does_not_say_hello_first_is_not_heard(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_door(tmp_path) as door:
            reader, writer = await knock(tmp_path, Done())
            assert await reader.read() == b""
            assert door.heard == []
            writer.close()

    asyncio.run(story())


def test_a_trainer_may_knock_whoevers_process_it_is(tmp_path: Path) -> None:
    """By whatever mask the agent was started."""

    async def story() -> None:
        before = os.umask(0o077)
        try:
            async with a_door(tmp_path):
                assert stat.S_IMODE((tmp_path / SOCKET_NAME).stat().st_mode) == 0o666
        finally:
            os.umask(before)

    asyncio.run(story())


def test_a_socket_of_an_earlier_agent_is_replaced(tmp_path: Path) -> None:
    async def story() -> None:
        async with a_door(tmp_path):
            pass
        (tmp_path / SOCKET_NAME).unlink(missing_ok=True)
        (tmp_path / SOCKET_NAME).touch()
        async with a_door(tmp_path) as door:
            _, writer = await knock(tmp_path, TRAINER)
            await door.until(heard=1)
            writer.close()

    asyncio.run(story())


@pytest.mark.parametrize("full", [False, True])
def test_a_folder_in_its_place_is_put_aside_and_keeps_nobody_out(tmp_path: Path, full: bool) -> None:
    """The trainer may have made it, and the agents of all its pod's seats are one process."""
    (tmp_path / SOCKET_NAME).mkdir()
    if full:
        (tmp_path / SOCKET_NAME / "kept").touch()

    async def story() -> None:
        async with a_door(tmp_path) as door:
            _, writer = await knock(tmp_path, TRAINER)
            await door.until(heard=1)
            writer.close()

    asyncio.run(story())
    assert len(list(tmp_path.rglob("kept"))) == full
