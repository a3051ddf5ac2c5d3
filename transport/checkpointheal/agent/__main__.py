"""`checkpointheal agent`: start the sidecar from its environment."""

import asyncio
import contextlib
import os
import signal
import sys

import aiohttp

from checkpointheal.agent.agent import Agent
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.contract import log_lines
from checkpointheal.errors import Misuse


def main(argv: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Exit status 2 where the environment is not an agent's."""
    del argv
    try:
        settings = AgentSettings.from_environment(os.environ)
        log_lines.begin(os.environ, job=settings.job, member=settings.member, pod=settings.pod)
        asyncio.run(_serve(settings))
    except Misuse as error:
        sys.stderr.write(f"checkpointheal agent: {error}\n")
        return 2
    return 0


async def _serve(settings: AgentSettings) -> None:
    loop = asyncio.get_running_loop()
    current = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        if current is not None:
            loop.add_signal_handler(number, current.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        async with aiohttp.ClientSession() as session:
            await Agent(settings, session).run()


if __name__ == "__main__":
    sys.exit(main())
