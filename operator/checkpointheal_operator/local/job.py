"""One training job on this machine, healed: gateway, operator, pods, as one thing to drive.

    async with LocalJob(settings) as job:          # gateway open, pods starting
        job.loop.view                              # the core's JobView as of the last look
        job.supervisor.pod(member)                 # .trainer_pid .trainer(k) .agent_pid .keeper_pid .claim
        await job.supervisor.delete(member)        # as `kubectl delete pod --force`: a new, empty pod follows
        outcome = await job.wait()                 # Outcome(status, message): all finished, or one failed for good
    job.heals                                      # HealRecords with what was seen of them, in order of their opening
                                                   # leaving the block kills what is left and removes its memory

`Hooks` hear decisions, sentences about pods, and every look. Composition only. Must not know the command line or the
screen.
"""

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from checkpointheal.contract.seats import pod_name
from checkpointheal_operator.core.decisions import Decision
from checkpointheal_operator.core.facts import PodFacts
from checkpointheal_operator.core.phases import SeenHeal, see
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.gateway.app import make_app
from checkpointheal_operator.gateway.listen import listen
from checkpointheal_operator.local.door import door
from checkpointheal_operator.local.exits import Exits, sentence
from checkpointheal_operator.local.operator_loop import OperatorLoop
from checkpointheal_operator.local.places import LOOPBACK, Site, free_port
from checkpointheal_operator.local.settings import LocalSettings
from checkpointheal_operator.local.supervisor import Outcome, Supervisor
from checkpointheal_operator.local.unprotected import Unprotected

GATEWAY_GRACE = 0.5
"""Seconds that an open long poll may hold the gateway's end up."""

T = TypeVar("T")


@dataclass(frozen=True)
class Hooks:
    """Who hears what. None of them may block."""

    told: Callable[[Decision, JobView], None] = lambda _decision, _view: None
    """A decision, and the view as it was written down."""
    noted: Callable[[str], None] = lambda _sentence: None
    """What happened to a pod."""
    looked: Callable[[JobView], None] = lambda _view: None
    """The view after each look."""


class LocalJob:
    """The job. `clock` is in seconds; the times in views and records are its."""

    supervisor: Supervisor
    """From `async with` on."""

    def __init__(
        self, settings: LocalSettings, hooks: Hooks | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._hooks, self._clock = settings, hooks or Hooks(), clock
        self._heals: dict[str, SeenHeal] = {}
        self._exits, self._unprotected = Exits(), Unprotected()
        self._stack = AsyncExitStack()
        self.loop = OperatorLoop(settings.job, settings.policy, self._pods, clock, self._hooks.told)
        self.loop.looked = self._looked

    @property
    def heals(self) -> tuple[SeenHeal, ...]:
        """Every heal so far, in order of opening."""
        return tuple(sorted(self._heals.values(), key=lambda seen: (seen.heal.opened_at, seen.heal.name)))

    async def __aenter__(self) -> Self:
        """Open the gateway, start the pods."""
        self._settings.logs.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            site = self._site = Site(
                self._settings, await self._open_gateway(stack), secrets.token_urlsafe(32), free_port()
            )
            site.memory.mkdir(mode=0o700)
            stack.callback(shutil.rmtree, site.memory, ignore_errors=True)
            try:
                await stack.enter_async_context(door(site.memory, self.loop.drill))
            except OSError as error:
                self._hooks.noted(f"nobody can ask for a drill: {error}")
            self.supervisor = Supervisor(site, self._clock, self.loop.notice, self._hooks.noted)
            self._operating = _spawn(stack, self.loop.run())
            self._supervising = _spawn(stack, self.supervisor.run())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill every pod that is left, remove its memory, close the gateway."""
        await self._stack.aclose()

    async def wait(self) -> Outcome:
        """How the job ended, once it has. Raises what the operator raised, should it fail."""
        await asyncio.wait({self._operating, self._supervising}, return_when=asyncio.FIRST_COMPLETED)
        if self._operating.done():
            self._operating.result()
        return await asyncio.shield(self._supervising)

    def let_fall_back(self) -> None:
        """From now on the job may go on from the user's checkpoint by itself, though it was to be held."""
        self.loop.policy = self.loop.policy.but(fallback="Checkpoint")
        self.loop.notice()

    async def leave(self) -> None:
        """Ask every trainer to end and wait until all have, or the grace is over."""
        self.supervisor.leave()
        await asyncio.wait({self._supervising}, timeout=self._settings.grace)

    async def _open_gateway(self, stack: AsyncExitStack) -> str:
        async def authenticate(token: str) -> Any:
            return await self.supervisor.caller(token)

        app = make_app(self.loop.hub, authenticate)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=GATEWAY_GRACE)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await listen(web.TCPSite(runner, LOOPBACK, 0))
        return f"http://{LOOPBACK}:{runner.addresses[0][1]}"

    def _pods(self) -> tuple[PodFacts, ...]:
        return self.supervisor.facts()

    def _looked(self, view: JobView) -> None:
        for heal in view.heals:
            self._heals[heal.name] = see(self._heals.get(heal.name), heal, view)
        for pod, ended in self._exits.new(view):
            self._hooks.noted(sentence(pod, ended, self._site.log(pod_name(pod), "run")))
        for told in self._unprotected.new(view):
            self._hooks.noted(told)
        self._hooks.looked(view)


def _spawn(stack: AsyncExitStack, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run it until the stack is closed."""
    task = asyncio.get_running_loop().create_task(work)

    async def end() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task})

    stack.push_async_callback(end)
    return task
