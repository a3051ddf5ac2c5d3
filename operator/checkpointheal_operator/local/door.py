"""How is a job of this machine asked for a drill from another terminal?

By a socket in the folder of its memory, which nobody but its user may enter: whoever says the word asks for a drill,
and is told its record as one line of JSON. Must not know what a drill is.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

from checkpointheal_operator.core.drill_record import DrillRecord
from checkpointheal_operator.local.places import FOLDERS, memory_root

SOCKET, WORD = "drill.sock", b"drill\n"
LONGEST = 1 << 20
"""Bytes of an answer."""


@contextlib.asynccontextmanager
async def door(folder: Path, drill: Callable[[], Awaitable[DrillRecord]]) -> AsyncGenerator[None]:
    """Open while the job runs. Raises OSError."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            if await reader.readline() != WORD:
                return
            writer.write((await drill()).model_dump_json().encode() + b"\n")
            await writer.drain()

    server = await asyncio.start_unix_server(answer, folder / SOCKET)
    try:
        yield
    finally:
        server.close()


def jobs() -> dict[str, Path]:
    """The folders of those that can be asked, by job. One that was killed has left its folder, and nobody in it."""
    found = filter(_is_open, sorted(memory_root().glob(f"{FOLDERS}*/{SOCKET}")))
    return {path.parent.name.removeprefix(FOLDERS): path.parent for path in found}


def _is_open(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as knocking:
        knocking.connect(str(path))
        return True
    return False


async def ask(folder: Path) -> DrillRecord:
    """Have a drill, and hear how it went. Raises OSError or EOFError where the job is not there, or ends."""
    reader, writer = await asyncio.open_unix_connection(folder / SOCKET, limit=LONGEST)
    with contextlib.closing(writer):
        writer.write(WORD)
        if not (said := await reader.readline()):
            raise EOFError("the job ended")
    return DrillRecord.model_validate_json(said)
