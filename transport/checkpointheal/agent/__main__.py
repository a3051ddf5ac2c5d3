"""`checkpointheal agent`: start the sidecar from its environment.

One process for the whole pod: an agent for each of its seats, all on one event loop, and one fork server for the
transfers of all.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence

import aiohttp

from checkpointheal.agent.agent import Agent
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.contract import log_lines
from checkpointheal.errors import Misuse

USAGE = """usage: checkpointheal agent

Keep, give and take the states of one pod's trainers. It takes no arguments: injection, or `checkpointheal local`, says
all in CHECKPOINTHEAL_ variables (docs/injection.md, "What the agent is told").
"""


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Exit status 2 where the environment is not an agent's."""
    if argv and argv[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    try:
        seats = AgentSettings.seats(os.environ)
        (first, *others) = seats
        member, pod = (None, "") if others else (first.member, first.pod)
        log_lines.begin(os.environ, job=first.job, member=member, pod=pod)
        asyncio.run(_serve(seats))
    except Misuse as error:
        sys.stderr.write(f"checkpointheal agent: {error}\n")
        return 2
    return 0


async def _serve(seats: Sequence[AgentSettings]) -> None:
    loop = asyncio.get_running_loop()
    current = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        if current is not None:
            loop.add_signal_handler(number, current.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        # Every seat holds a poll open: a limit on connections would let the last ones wait for the first.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            agents = [Agent(each, session) for each in seats]
            async with asyncio.TaskGroup() as tasks:
                for agent, settings in zip(agents, seats, strict=True):
                    tasks.create_task(_run(agent, settings))


async def _run(agent: Agent, settings: AgentSettings) -> None:
    """Each task has a context of its own, so its lines say which seat speaks."""
    if settings.local_ranks > 1:
        log_lines.speaking(member=settings.member, pod=settings.pod)
    await agent.run()


if __name__ == "__main__":
    sys.exit(main())
