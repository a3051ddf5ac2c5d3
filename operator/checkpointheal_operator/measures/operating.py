"""What is counted while one replica of the operator works?

A decision is counted once it stands in the API, by the process that wrote it: of two replicas only one can have. Must
not know how anything was done.
"""

from collections.abc import Callable
from typing import assert_never

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from checkpointheal_operator.core.decisions import (
    Assign,
    BeginEpoch,
    Conclude,
    Decision,
    EndEpoch,
    LeaveEpoch,
    Nothing,
    OpenHeal,
    Restart,
    Wait,
)
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.phases import SeenHeal, phases
from checkpointheal_operator.core.reasons import Cause, Reason, Rung
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.measures import spec
from checkpointheal_operator.measures.page import Register

NOWHERE = "None"
"""The rung of a heal that ended before it had one."""
OK = "ok"
USUAL = (
    (Rung.CHECKPOINT, Reason.FELL_BACK),
    (Rung.FRESH, Reason.FELL_BACK),
    (Rung.PEER, Reason.HEALED),
    (Rung.OWN_MEMORY, Reason.HEALED),
)
"""How heals end."""


class OperatorMetrics(Register):
    """Of one process, from its start."""

    def __init__(self) -> None:
        super().__init__()
        self._opened, self._heals = self.counter(spec.HEALS_OPENED), self.counter(spec.HEALS)
        for cause in Cause:  # a series that begins at its first heals shows no increase by them
            for rung, result in USUAL:
                self._heals.labels(rung, cause, result)
        self._heal_seconds, self._phases = self.histogram(spec.HEAL_SECONDS), self.histogram(spec.PHASE_SECONDS)
        self._bytes, self._assigned = self.counter(spec.BYTES), self.counter(spec.ASSIGNMENTS)
        self._refused = self.counter(spec.REFUSALS)
        self._begun, self._ended = self.counter(spec.EPOCHS_BEGUN), self.counter(spec.EPOCHS_ENDED)
        self._looks, self._look_seconds = self.counter(spec.LOOKS), self.histogram(spec.LOOK_SECONDS)
        self._writes, self._reviews = self.counter(spec.API_WRITES), self.counter(spec.TOKEN_REVIEWS)
        self._certificates, self._requests = self.counter(spec.CERTIFICATES), self.counter(spec.AGENT_REQUESTS)
        self._leader, self.leaderships = self.gauge(spec.LEADER), self.counter(spec.LEADERSHIPS)
        self.wakeups, self._troubled = self.counter(spec.WAKEUPS), self.gauge(spec.TROUBLED)
        self._watch_age, self._watched = self.gauge(spec.WATCH_AGE), self.gauge(spec.WATCHED)
        self._seen = {each: self.gauge(each) for each in (spec.JOBS, spec.OPEN_HEALS, spec.STANDING_STILL)}
        self._seen |= {each: self.gauge(each) for each in (spec.AGENTS, spec.VIEW_AGE)}

    def wrote(self, decision: Decision, view: JobView) -> None:
        """It stands in the API; `view` is what stands there with it."""
        match decision:
            case OpenHeal():
                self._opened.labels(decision.cause).inc()
            case Assign():
                self._assigned.labels(decision.reason).inc()
                for refusal in decision.refusals:
                    self._refused.labels(refusal.reason).inc()
            case BeginEpoch():
                self._begun.labels(decision.order.rung, decision.reason).inc()
            case EndEpoch():
                self._ended.labels(decision.reason).inc()
            case Conclude():
                self._concluded(next(each for each in view.heals if each.name == decision.heal))
            case LeaveEpoch() | Restart() | Nothing() | Wait():
                pass
            case _:
                assert_never(decision)

    def looked(self, result: str, seconds: float) -> None:
        """At one job, once."""
        self._looks.labels(result).inc()
        self._look_seconds.observe(seconds)

    def api_wrote(self, verb: str, kind: str, outcome: str = OK) -> None:
        """Whatever it was, and whatever became of it."""
        self._writes.labels(verb, kind, outcome).inc()

    def reviewed(self, outcome: str) -> None:
        """A token."""
        self._reviews.labels(outcome).inc()

    def certified(self, outcome: str) -> None:
        """An agent: `issued`, or the reason of the refusal. For whoever certifies."""
        self._certificates.labels(outcome).inc()

    def troubled(self, found: dict[Reason, int]) -> None:
        """How many pods are in which trouble now."""
        self._troubled.clear()
        for reason, number in found.items():
            self._troubled.labels(reason).set(number)

    def watches(self, kind: str, age: Callable[[], float], size: Callable[[], float]) -> None:
        """Ask these whenever somebody reads the metrics."""
        self._watch_age.labels(kind).set_function(age)
        self._watched.labels(kind).set_function(size)

    def sees(self, what: spec.Spec, now: Callable[[], float]) -> None:
        """Ask this whenever somebody reads the metrics: of jobs, open heals, agents or the age of views."""
        self._seen[what].set_function(now)

    def leads(self, now: Callable[[], bool]) -> None:
        """Ask this whenever somebody reads the metrics."""
        self._leader.set_function(lambda: float(now()))

    def counting(self) -> Middleware:
        """A middleware that counts the requests of agents, the refused ones too."""

        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            status = "gone"
            try:
                answer = await handler(request)
                status = str(answer.status)
            except web.HTTPException as refused:
                status = str(refused.status)
                raise
            finally:
                route = request.match_info.route.resource
                self._requests.labels(route.canonical if route else "elsewhere", status).inc()
            return answer

        return count

    def _concluded(self, heal: HealRecord) -> None:
        rung = str(heal.rung or NOWHERE)
        self._heals.labels(rung, heal.cause, heal.reason).inc()
        if heal.rung == Rung.PEER and heal.transfer is not None:
            self._bytes.inc(heal.transfer.bytes)
        if (heal.healed or heal.reason == Reason.FELL_BACK) and heal.concluded_at is not None:
            self._heal_seconds.labels(rung).observe(max(0.0, heal.concluded_at - heal.noticed_at))
            for name, seconds in phases(SeenHeal(heal)).items():
                self._phases.labels(name).observe(seconds)
