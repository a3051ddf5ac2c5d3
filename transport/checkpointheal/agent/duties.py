"""Given what the agent sees and what it was ordered: what must it do now?

Pure. Orders are declared state, so this is a comparison, repeated after every change; carrying a duty out changes what
the agent sees, and the duty is gone. Rules that live here: a lower epoch or attempt than one seen is ignored; a trainer
gets one answer per request, from the newest epoch only; nothing of an abandoned future survives an answer;
no step is promised without the member's own private part: that of the step or, where the order names one, of an earlier
step; unless it never had one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from checkpointheal.contract.layout import Identity
from checkpointheal.contract.orders import Assignment, EpochOrder, Orders, Peer
from checkpointheal.contract.report import TrainerFacts
from checkpointheal.contract.trainer import HOLD


@dataclass(frozen=True)
class Sight:
    """What the agent sees at this moment."""

    trainer: TrainerFacts = field(default_factory=TrainerFacts)
    epoch_answered: int = 0
    epoch_told_over: int = 0
    epoch_told_to_leave: int = 0
    attempt_seen: int = 0
    slots: Mapping[int, Identity] = field(default_factory=dict)
    private_steps: frozenset[int] = frozenset()
    fetching: Assignment | None = None
    fetching_private: int | None = None
    explained: "ExplainWait | None" = None
    """What the trainer was told last about why it waits."""
    held: bool = False
    """The trainer says that it waits for as long as it takes."""


@dataclass(frozen=True)
class Answer:
    """Give the waiting trainer its step, after dropping every generation that is not of its past."""

    order: EpochOrder
    slot: int | None
    identity: Identity | None


@dataclass(frozen=True)
class EndTrainer:
    """Tell the trainer that its epoch is over."""

    order: EpochOrder


@dataclass(frozen=True)
class LetLeave:
    """Tell the trainer that its epoch is to be left at a commit."""

    order: EpochOrder


@dataclass(frozen=True)
class KillTrainer:
    """Have `run` kill a trainer that stands still."""

    incarnation: str
    reason: str


@dataclass(frozen=True)
class Fetch:
    """Receive the assigned state."""

    assignment: Assignment


@dataclass(frozen=True)
class StopFetch:
    """The attempt under way is no longer wanted."""

    assignment: Assignment


@dataclass(frozen=True)
class FetchPrivate:
    """Bring this member's own private part of a step back from who keeps it."""

    step: int
    holders: tuple[Peer, ...]


@dataclass(frozen=True)
class ExplainWait:
    """Tell the waiting trainer why there is no answer to this request yet."""

    request: int
    reason: str
    message: str
    hold: bool = False
    """It is to wait for as long as it takes."""


HOLD_TOLD = "fallback is Hold: restore() waits for its answer for as long as it takes"
RELEASED = "Released"
RELEASED_TOLD = "the job is not held any more: the budget of restore() counts from now on"
NO_POLICY = "NoPolicy"
"""The operator answers, and nobody has asked it to look after this pod."""
NO_POLICY_TOLD = "no CheckpointHeal selects this pod: apply one; waiting"

Duty = Answer | EndTrainer | LetLeave | KillTrainer | Fetch | StopFetch | FetchPrivate | ExplainWait


def duties(sight: Sight, orders: Orders) -> tuple[Duty, ...]:
    """Everything to do now, in order."""
    ends = _end(sight, orders.epoch) or _leave(sight, orders.epoch)
    due: list[Duty | None] = [_kill(sight, orders), ends, *_transfer(sight, orders.assignment)]
    answer = _answer(sight, orders)
    due += [answer, None if isinstance(answer, Answer) else _explain(sight, orders)]
    return tuple(duty for duty in due if duty is not None)


def _kill(sight: Sight, orders: Orders) -> Duty | None:
    doomed = orders.restart_trainer
    if doomed is None or doomed != sight.trainer.incarnation:
        return None
    return KillTrainer(doomed, orders.epoch.reason if orders.epoch else "")


def _end(sight: Sight, order: EpochOrder | None) -> Duty | None:
    if order is None or not order.over or sight.trainer.state in ("absent", "waiting", "done"):
        return None
    if not 0 < sight.trainer.epoch <= order.epoch or sight.epoch_told_over >= order.epoch:
        return None
    return EndTrainer(order)


def _leave(sight: Sight, order: EpochOrder | None) -> Duty | None:
    if order is None or order.over or not order.leave or sight.trainer.state != "training":
        return None
    if sight.trainer.epoch != order.epoch or sight.epoch_told_to_leave >= order.epoch:
        return None
    return LetLeave(order)


def _transfer(sight: Sight, assignment: Assignment | None) -> tuple[Duty, ...]:
    under_way = sight.fetching
    stop = (
        (StopFetch(under_way),)
        if under_way is not None and (assignment is None or assignment.attempt > under_way.attempt)
        else ()
    )
    if assignment is None or assignment.attempt <= sight.attempt_seen:
        return stop
    return (*stop, Fetch(assignment))


def _answer(sight: Sight, orders: Orders) -> Duty | None:
    order = orders.epoch
    if order is None or order.over or sight.trainer.state != "waiting" or order.epoch <= sight.epoch_answered:
        return None
    if order.incarnation not in (None, sight.trainer.incarnation):
        return None
    if order.step is None:
        return Answer(order, None, None)
    part = order.step if order.private_step is None else order.private_step
    if part not in sight.private_steps and not order.private_begins:
        wanted = orders.private_from and sight.fetching_private != part
        return FetchPrivate(part, orders.private_from) if wanted else None
    held = [(slot, identity) for slot, identity in sorted(sight.slots.items()) if identity.step == order.step]
    slot, identity = min(held, key=lambda each: not _was_sent(orders.assignment, each[1]), default=(None, None))
    return None if identity is None else Answer(order, slot, identity)


def _explain(sight: Sight, orders: Orders) -> Duty | None:
    """Again whenever something else is to be told, as long as the trainer waits."""
    told = _why_it_waits(sight, orders) if sight.trainer.state == "waiting" else None
    return None if told == sight.explained else told


def _why_it_waits(sight: Sight, orders: Orders) -> ExplainWait | None:
    """An agent that has just started and has no orders yet knows nothing: its trainer waits on as it was told."""
    request = sight.trainer.request
    if orders.withdrawn:
        return ExplainWait(request, *why_withdrawn(orders), hold=orders.hold)
    if orders.hold:
        why = (orders.reason, orders.message) if orders.reason else (HOLD, HOLD_TOLD)
        return ExplainWait(request, *why, hold=True)
    if orders.revision and _is_held(sight):
        return ExplainWait(request, RELEASED, RELEASED_TOLD)
    return None


def _is_held(sight: Sight) -> bool:
    """By its own word, which outlives the agent that told it; or by what it was told a moment ago."""
    told = sight.explained
    return sight.held or (told is not None and told.request == sight.trainer.request and told.hold)


def why_withdrawn(orders: Orders) -> tuple[str, str]:
    """In a word and a sentence. An operator that says no more knows no policy."""
    return (orders.reason, orders.message) if orders.reason else (NO_POLICY, NO_POLICY_TOLD)


def _was_sent(assignment: Assignment | None, identity: Identity) -> bool:
    """What a peer gave stands before the member's own bytes of that step: those were refused, or it had needed none."""
    return assignment is not None and assignment.identity == identity
