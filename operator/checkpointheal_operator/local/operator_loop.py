"""How does a view become a decision and a decision an effect, on one machine?

The same path as on a cluster: gather, decide, apply, look again. Pods come from the supervisor, reports from the hub;
records live in this process, orders go back through the hub. Nothing here decides.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable

from checkpointheal_operator.api.told import awaited
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.decisions import Decision, Nothing, Wait
from checkpointheal_operator.core.drill_record import DrillRecord
from checkpointheal_operator.core.drills import next_drill
from checkpointheal_operator.core.facts import PodFacts
from checkpointheal_operator.core.hearing import remember
from checkpointheal_operator.core.orders import of_holders
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.records import advance, prune
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.core.waking import DECISIONS_AT_ONCE, wakes_at
from checkpointheal_operator.gateway.hub import Hub

HEALS_KEPT = 200
LOOK_EVERY = 1.0


class OperatorLoop:
    """One job's operator.

    `told` hears each decision with the view as it was written down, and what is waited for when that changes; `looked`
    may be set to hear the view after each look. `policy` may be replaced; the next look takes it.
    """

    def __init__(
        self,
        job: str,
        policy: Policy,
        pods: Callable[[], tuple[PodFacts, ...]],
        clock: Callable[[], float],
        told: Callable[[Decision, JobView], None],
    ) -> None:
        self._pods, self._clock, self._told = pods, clock, told
        self.policy = policy
        self._view = JobView(job=job, policy=_on_one_machine(policy), leader_since=clock())
        self._noticed = asyncio.Event()
        self._waits_for: tuple[str, str] | None = None
        self._drill_asked = ""
        self._asking, self._drilled = asyncio.Lock(), asyncio.Event()
        self.looked: Callable[[JobView], None] = lambda _view: None
        self.hub = Hub(clock, self.notice)

    @property
    def view(self) -> JobView:
        """The job as it was at the last look."""
        return self._view

    def notice(self) -> None:
        """Something happened: look again. What it was does not matter."""
        self._noticed.set()

    async def drill(self) -> DrillRecord:
        """Ask for a drill, and wait until it is over or refused."""
        async with self._asking:
            self._drill_asked = uuid.uuid4().hex
            self.notice()
            while (drill := self._view.drill) is None or drill.is_open or drill.request != self._drill_asked:
                self._drilled.clear()
                await self._drilled.wait()
            return drill

    async def run(self) -> None:
        """Look at once after every notice, and once in a while."""
        while True:
            self._noticed.clear()
            until = self._look()
            seconds = LOOK_EVERY if until is None else min(LOOK_EVERY, max(0.01, until - self._clock()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):  # `wait_for` of Python 3.11 may swallow being cancelled
                    await self._noticed.wait()

    def _look(self) -> float | None:
        view, last = self._settle(self._gather())
        if (drill := next_drill(view, self._clock())) is not None:
            view = view.but(drill=drill)
            self._drilled.set()
        self._view = view.but(heals=prune(view.heals, HEALS_KEPT))
        self.looked(self._view)
        self.hub.order(of_holders(view, last))
        return wakes_at(view, last, self._clock())

    def _settle(self, view: JobView) -> tuple[JobView, Decision]:
        """As far as it goes now, and what was decided last."""
        for _ in range(DECISIONS_AT_ONCE):
            last = decide(view, self._clock())
            if isinstance(last, Nothing | Wait):
                self._tell_once(last, view)
                break
            view = advance(view, last, self._clock())
            self._waits_for = None
            self._told(last, view)
        return view, last

    def _gather(self) -> JobView:
        view = self._view.but(
            policy=_on_one_machine(self.policy), pods=self._pods(), heard=self.hub.heard, drill_asked=self._drill_asked
        )
        view = remember(view, self._clock())
        self.hub.keep_only(view.heard)
        return view

    def _tell_once(self, decision: Nothing | Wait, view: JobView) -> None:
        """What is waited for is worth a line when it changes, not at every look, nor for an age in it."""
        if awaited(decision) != self._waits_for:
            self._waits_for = awaited(decision)
            self._told(decision, view)


def _on_one_machine(policy: Policy) -> Policy:
    """Agents here share a key and have no certificates: they cannot speak TLS, and nothing crosses a network."""
    return policy.but(channel="gloo")
