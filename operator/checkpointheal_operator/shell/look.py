"""How does a job go from what stands in the API to what is decided, once?

Read, decide, write, decide again until there is nothing to do; then tell. Nothing is kept between two looks. Must not
know what woke it up.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from checkpointheal.contract.log_lines import about
from checkpointheal.contract.orders import Orders
from checkpointheal.contract.report import AgentReport
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.decisions import Decision, Nothing, Wait, asked_by
from checkpointheal_operator.core.drills import drill_without, next_drill
from checkpointheal_operator.core.orders import withdrawn
from checkpointheal_operator.core.place import has_finished
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.status import Condition, set_aside, standing_back
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.core.waking import DECISIONS_AT_ONCE, wakes_at
from checkpointheal_operator.measures.operating import OperatorMetrics
from checkpointheal_operator.shell.apply import Desk
from checkpointheal_operator.shell.cluster import (
    AlreadyThere,
    Cluster,
    ClusterError,
    Conflict,
    NotThere,
    Refused,
    TooManyRequests,
)
from checkpointheal_operator.shell.gather import Reader
from checkpointheal_operator.shell.layouts import Difference, difference, too_large, unselectable
from checkpointheal_operator.shell.mirror import Key
from checkpointheal_operator.shell.objects import Listening, view_of
from checkpointheal_operator.shell.overlap import Overlap
from checkpointheal_operator.shell.telling import Told

log = logging.getLogger("checkpointheal.operator")

SOON, LATER, REFUSED = 0.1, 1.0, 10.0
DRILL_SECONDS = 1.0
"""In which it is written that a drill begins or ends; else the next look tries again."""


@dataclass(frozen=True)
class Surroundings:
    """What every job's operator needs: the API, and the time in seconds since 1970; and where it counts.

    `wrote` hears of each decision as soon as it stands in the API, with what stands there. `serves` tells whether the
    webhook serves a namespace. `reader`, and the Events that are `owed`, are one job's.
    """

    cluster: Cluster
    clock: Callable[[], float]
    metrics: OperatorMetrics = field(default_factory=OperatorMetrics)
    wrote: Callable[[Decision, JobView], None] = lambda _decision, _view: None
    serves: Callable[[str], bool] = lambda _namespace: True
    reader: Reader = field(default_factory=Reader)
    owed: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Looked:
    """What was seen and done. Agents may be ordered what `view` says: all of it stands in the API."""

    view: JobView
    decisions: tuple[Decision, ...]
    until: float | None
    instead: Orders | None = None
    """What all its pods are ordered instead, where the job is left alone though it is this policy's."""
    untold: ClusterError | None = None
    """Why people could not be told of it, where they could not."""


async def look(around: Surroundings, key: Key, listening: Listening, *, tells: bool = True) -> Looked:
    """Bring the job as far as it goes now. Raises ClusterError; what was written before stands, and is seen next.

    Not where only people could not be told: agents wait for what was decided. `tells`: whether they are to be.
    """
    objects = await around.reader.read(around.cluster, *key)
    desk = Desk(around.cluster, objects, around.owed)
    view = view_of(objects, listening, around.clock())
    if (overlap := objects.overlap) is not None:
        return await _stand_back(desk, _left_alone(view, overlap), standing_back(*overlap), around.clock(), tells=tells)
    hidden = _hidden(view, listening)
    found = too_large(view.policy) or unselectable(objects) or difference(objects, listening.heard, hidden)
    if found is not None:
        why = set_aside(found.reason, found.message)
        return await _stand_back(desk, _set_aside(view, found), why, around.clock(), tells=tells)
    made: list[Decision] = []
    while len(made) < DECISIONS_AT_ONCE:
        now = around.clock()
        made.append(decision := decide(view, now))
        if isinstance(decision, Nothing | Wait):
            break
        view = await desk.apply(decision, view, now)
        around.wrote(decision, view)
    now = around.clock()
    untold = await _untold(lambda: desk.tell(view, now, made[-1]), tells=tells)
    if tells and untold is None and len(made) == 1 and not asked_by(made[-1]):
        view = await _rehearse(desk, Told(view, now, made[-1]))
    return Looked(view, tuple(made), wakes_at(view, made[-1], now), untold=untold)


def _hidden(view: JobView, listening: Listening) -> tuple[AgentReport, ...]:
    """What was said of late by agents of pods that did not opt in any more, but by those that are not missed."""
    spoke = (each.report for each in view.heard if each.report.pod_uid in listening.unlisted)
    return tuple(each for each in spoke if not has_finished(each.trainer))


async def _untold(telling: Callable[[], Awaitable[None]], *, tells: bool) -> ClusterError | None:
    """Why people could not be told; None too where it was not tried."""
    try:
        if tells:
            await telling()
    except ClusterError as error:
        return error
    return None


async def _rehearse(desk: Desk, said: Told) -> JobView:
    """Only where nothing was decided, and not for long: a heal never waits for what is written of a drill."""
    view = said.view
    if (record := next_drill(view, said.now)) is None:
        return view
    try:
        async with asyncio.timeout(DRILL_SECONDS):
            after = await desk.drill(record, said)
    except (ClusterError, TimeoutError) as error:
        log.warning("%s is not written down yet: %s", record.name, error, extra=about(job=view.job))
        return view
    log.info("%s: %s", record.name, record.message, extra=about(job=view.job, reason=record.reason))
    return after


def pause(error: ClusterError) -> float:
    """Seconds until it is worth looking again."""
    match error:
        case TooManyRequests():
            return error.after
        case Conflict() | AlreadyThere() | NotThere():
            return SOON
        case Refused():
            return REFUSED
        case _:
            return LATER


async def _stand_back(desk: Desk, looked: Looked, why: tuple[Condition, ...], now: float, *, tells: bool) -> Looked:
    """The job is left alone. Whoever asks for a drill of it is told so, too."""
    drill = drill_without(looked.view, now, (why[0].reason, why[0].message))
    return replace(looked, untold=await _untold(lambda: desk.stand_back(why, now, drill), tells=tells))


def _left_alone(view: JobView, overlap: Overlap) -> Looked:
    """Its pods and reports are another job's: nobody is ordered anything for it."""
    message = Reason.CONFLICTING.tell(older=overlap.older, pod=overlap.pod)
    view, reason = view.but(pods=(), strangers=(), heard=()), Reason.CONFLICTING
    return Looked(view, (Nothing(reason=reason, message=message),), None, withdrawn(reason, message))


def _set_aside(view: JobView, found: Difference) -> Looked:
    """An epoch that is under way goes on: its trainers agreed when it began. Nothing is decided."""
    decision = Nothing(reason=found.reason, message=found.message)
    hold = view.policy.fallback == "Hold"
    return Looked(view, (decision,), None, withdrawn(found.reason, found.told, hold=hold))
