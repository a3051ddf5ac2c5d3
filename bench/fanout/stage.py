"""`python -m bench.fanout.stage FOLDER`: a gateway that has one agent give its state to two others when told to.

A number that is read is a cap in bytes a second, 0 for none: from then on both recipients receive. `null` ends it, and
is answered with what crossed. The gateway and its authority are the operator's own, and each agent is a process. Must
not know what is measured.
"""

import asyncio
import contextlib
import json
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from aiohttp import web

from bench.fanout.crew import DONOR, RECIPIENTS, arena_of
from bench.fanout.giving import HOST, JOB, Giving, uid_of
from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.gateway.app import make_app
from checkpointheal_operator.gateway.authority import Authority
from checkpointheal_operator.gateway.caller import Caller
from checkpointheal_operator.gateway.registrar import Registrar

ALL = (DONOR, *RECIPIENTS)
NAMESPACE, NAME = "bench", "localhost"
ASIDE = "10"
"""How far those stand back who would be on another machine."""
AGENT = "import sys; from checkpointheal.cli import main; sys.exit(main(['agent']))"


async def main(folder: Path) -> None:
    """Until the other side goes."""
    giving = Giving()
    registrar = Registrar(Authority.begin((NAME,), time.time()), time.time)
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(_gateway(giving, registrar))
        said = {each: dict(_environment(folder, each, port, registrar.trusted)) for each in ALL}
        await stack.enter_async_context(_agents(said))
        await giving.once(lambda: all(map(giving.is_ready, ALL)))
        giving.order()
        _say("ready")
        await _serve(giving)


async def _serve(giving: Giving) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        begun, began = asyncio.Event(), time.monotonic()
        task = asyncio.create_task(giving.give(json.loads(line) or None, begun))
        waiting = asyncio.create_task(begun.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        _say("begun")
        await asyncio.to_thread(sys.stdin.readline)
        seconds = time.monotonic() - began
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        crossed, verified = await giving.end()
        _say(json.dumps([crossed, seconds, verified]))


def _say(line: str) -> None:
    print(line, flush=True)


@contextlib.asynccontextmanager
async def _gateway(giving: Giving, registrar: Registrar) -> AsyncIterator[int]:
    """Its port. A token is the uid of its pod."""

    async def authenticate(token: str) -> Caller | None:
        known = {uid_of(replica): replica for replica in ALL}
        return Caller(JOB, token, NAMESPACE, MemberId(replica=known[token]), HOST) if token in known else None

    app = make_app(giving.hub, authenticate, registrar.certify)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0, ssl_context=registrar.context).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _environment(folder: Path, replica: int, port: int, root: str) -> Iterator[tuple[str, str]]:
    """As injection sets it."""
    token = folder / f"token-{replica}"
    token.write_text(uid_of(replica))
    yield from {"PATH": "/usr/bin:/bin", "CHECKPOINTHEAL_GATEWAY_ROOT": root}.items()
    said = {"JOB": JOB, "MEMBER": f"{replica}/0", "POD": f"pod-{replica}", "POD_UID": uid_of(replica)}
    said |= {"ARENA": str(arena_of(folder, replica)), "TOKEN_FILE": str(token), "HOST": HOST}
    for name, value in (said | {"GATEWAY": f"https://{NAME}:{port}"}).items():
        yield f"CHECKPOINTHEAL_{name}", value


@contextlib.asynccontextmanager
async def _agents(environments: Mapping[int, dict[str, str]]) -> AsyncIterator[None]:
    """By replica. They end with the stage, and their transfers with them."""
    agents = [await _agent(replica, environment) for replica, environment in environments.items()]
    try:
        yield
    finally:
        for each in agents:
            with contextlib.suppress(ProcessLookupError):
                each.terminate()
        await asyncio.gather(*(each.wait() for each in agents))


async def _agent(replica: int, environment: dict[str, str]) -> Process:
    priority = () if replica == DONOR else ("nice", "-n", ASIDE)
    command = (*priority, sys.executable, "-c", AGENT)
    return await asyncio.create_subprocess_exec(*command, env=environment, stdin=DEVNULL)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
