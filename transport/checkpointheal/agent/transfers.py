"""How does the agent run a transfer that it can end at any instant?

Each transfer is a child forked from a process that has torch loaded already: it starts in milliseconds, and killing it
takes its process group, sockets and threads along. The agent itself never loads torch, so nothing there can crash it.
Child and agent speak JSON lines over a pipe. Must not know what is transferred.
"""

import asyncio
import contextlib
import multiprocessing
import os
import select
import socket
import threading
from collections.abc import AsyncGenerator
from multiprocessing import forkserver, reduction
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

from pydantic import TypeAdapter

from checkpointheal.agent.errand import ERRAND_SAYS, Errand, ErrandSays, Failed
from checkpointheal.agent.porter import Arrival
from checkpointheal.errors import Overdue

DIED = "TransferDied"
_MODULE = "checkpointheal.agent.mover"


class Transfers:
    """The fork server, and the children under way."""

    def __init__(self) -> None:
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([_MODULE])
        self._children: set[BaseProcess] = set()

    async def warm_up(self) -> None:
        """Start the fork server now: loading torch takes seconds that a heal should not wait for."""
        await asyncio.to_thread(forkserver.ensure_running)

    async def run(self, errand: Errand, arrival: Arrival | None = None) -> AsyncGenerator[ErrandSays]:
        """Run one errand; yields what it says, the last word being its outcome.

        `arrival`: the guest that the child waits for, who comes to the agent's door. Closing it early, as `aclosing`
        does, or being cancelled, kills the child.
        """
        try:
            child, ours = await self._start(errand)
        except (EOFError, OSError) as error:
            why = f"the transfer's process could not be started: {type(error).__name__}: {error}"
            yield Failed(reason=DIED, message=why)
            return
        self._children.add(child)
        handing = None if arrival is None else asyncio.create_task(_hand_over(arrival, ours, child.pid or 0))
        try:
            async with contextlib.aclosing(_listen(ours)) as words:
                async for said in words:
                    yield said
        finally:
            if handing is not None:
                handing.cancel()
            self._kill(child)
            ours.close()

    async def _start(self, errand: Errand) -> tuple[BaseProcess, Connection]:
        """Raises EOFError or OSError where the fork server dies over it, or no process or pipe is to be had."""
        ours, theirs = self._context.Pipe()
        child = self._context.Process(target=_run_errand, args=(theirs, errand.model_dump_json()), daemon=True)
        await asyncio.to_thread(child.start)
        theirs.close()
        return child, ours

    def close(self) -> None:
        """Kill what is under way."""
        for child in list(self._children):
            self._kill(child)

    def _kill(self, child: BaseProcess) -> None:
        with contextlib.suppress(ValueError, OSError):
            child.kill()
            child.join(1)
        self._children.discard(child)


async def _hand_over(arrival: Arrival, pipe: Connection, child: int) -> None:
    """The connection itself goes to the child; what is said on it is none of the agent's business."""
    with await arrival.guest() as guest, contextlib.suppress(OSError):
        reduction.send_handle(pipe, guest.fileno(), child)


async def _listen(pipe: Connection) -> AsyncGenerator[ErrandSays]:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(pipe.fileno(), readable.set)
    try:
        while True:
            await readable.wait()
            readable.clear()
            while pipe.poll():
                said = _hear(pipe)
                yield said
                if said.say in ("ended", "failed"):  # what follows is the end of its process, which is no news
                    return
    finally:
        loop.remove_reader(pipe.fileno())


def _hear(pipe: Connection) -> ErrandSays:
    try:
        return ERRAND_SAYS.validate_json(pipe.recv_bytes())
    except (EOFError, OSError):
        return Failed(reason=DIED, message="the transfer's process ended without a word")


def _run_errand(pipe: Connection, errand: str) -> None:
    """In the child. The import is free there: the fork server has done it."""
    from checkpointheal.agent import mover  # noqa: PLC0415 the agent must not load torch

    threading.Thread(target=_end_with_agent, args=(pipe,), daemon=True).start()
    mover.run(
        TypeAdapter(Errand).validate_json(errand),
        lambda said: pipe.send_bytes(said.model_dump_json().encode()),
        lambda seconds: _arrived(pipe, seconds),
    )


def _arrived(pipe: Connection, seconds: float) -> socket.socket:
    """In the child: the guest that the agent's door has let in."""
    if not pipe.poll(seconds):
        raise Overdue(f"the recipient did not come within {seconds:.0f} s")
    return socket.socket(fileno=reduction.recv_handle(pipe))


def _end_with_agent(pipe: Connection) -> None:
    """The fork server lives on when the agent is killed, and so would its children: the pipe tells them."""
    hung_up = select.poll()
    hung_up.register(pipe.fileno(), 0)
    hung_up.poll()
    os._exit(1)
