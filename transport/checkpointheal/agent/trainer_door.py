"""How do the trainer and its `run` reach the agent?

A Unix socket in the arena, one JSON object a line. The door parses and keeps the connections; what a word means is the
agent's business. A line that cannot be read, or cannot be taken in because the arena is full, ends that connection and
nothing else: the trainer comes again and says all that counts anew.
"""

import asyncio
import contextlib
import logging
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

from pydantic import ValidationError

from checkpointheal.arena.folder import Folder
from checkpointheal.contract.base import Message
from checkpointheal.contract.trainer import LINE_LIMIT, SOCKET_NAME, TRAINER_SAYS, Hello, TrainerSays

log = logging.getLogger("checkpointheal.agent")

AGAIN_AFTER = 0.5
"""Seconds after which a trainer may come again that was not heard to the end: it comes at once."""


class TrainerDoor:
    """The listening socket and the two connections that matter: the trainer's and its `run`'s."""

    def __init__(
        self, directory: Path, heard: Callable[[Hello, TrainerSays], Awaitable[None]], gone: Callable[[Hello], None]
    ) -> None:
        self._path = directory / SOCKET_NAME
        self._heard, self._gone = heard, gone
        self._writers: dict[str, tuple[Hello, asyncio.StreamWriter]] = {}
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen; a socket left by an earlier start of the agent is replaced, a folder is put aside."""
        Folder(self._path.parent).put_aside(SOCKET_NAME, unless=lambda mode: not stat.S_ISDIR(mode))
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._server = await asyncio.start_unix_server(self._serve, path=self._path, limit=LINE_LIMIT)
        os.chmod(self._path, 0o666)  # noqa: S103 the trainer may run under another user id

    async def close(self) -> None:
        """Stop listening and hang up."""
        if self._server is not None:
            self._server.close()
            for _, writer in self._writers.values():
                writer.close()

    def say(self, role: str, message: Message) -> bool:
        """Tell the trainer or its `run`; False where it is not there."""
        if role not in self._writers:
            return False
        self._writers[role][1].write(message.model_dump_json().encode() + b"\n")
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello: Hello | None = None
        try:
            while line := await reader.readline():
                said = TRAINER_SAYS.validate_json(line)
                if isinstance(said, Hello):
                    hello = said
                    self._writers[hello.role] = (hello, writer)
                if hello is None:
                    break
                if not await self._take_in(hello, said):
                    break
        except (ValidationError, ValueError) as error:
            log.warning("a word at the trainer's door cannot be read: %s", str(error).partition("\n")[0])
        except OSError:
            pass
        finally:
            writer.close()
            if hello is not None and self._writers.get(hello.role, (None, None))[1] is writer:
                del self._writers[hello.role]
                self._gone(hello)

    async def _take_in(self, hello: Hello, said: TrainerSays) -> bool:
        """Whether it was heard as far as it must be; not where the arena keeps nothing more."""
        try:
            await self._heard(hello, said)
        except OSError as error:
            log.warning("a word of the %s cannot be kept now: %s", hello.role, error)
            await asyncio.sleep(AGAIN_AFTER)
            return False
        return True
