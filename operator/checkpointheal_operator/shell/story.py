"""What does the log of an operator tell of a decision?

Pure. A heal's story is its lines in order: the epoch is over, it was opened, assigned, answered, concluded, each with
its reason and its sentence. Must not know where lines go.
"""

import logging
from collections.abc import Iterator
from typing import NamedTuple

from checkpointheal.contract.log_lines import Facts
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
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.view import JobView

GRAVE = (Reason.FELL_BACK, Reason.HELD, Reason.PROBATION_FAILED, Reason.PRIVATE_STATE_BEHIND)
"""What a person should see, though nothing has failed here."""


class Line(NamedTuple):
    """One line, and what it is about."""

    message: str
    about: Facts
    level: int = logging.INFO


def lines(decision: Decision, view: JobView) -> Iterator[Line]:
    """What to say of `decision`, whose records `view` holds already."""
    reason = str(decision.cause if isinstance(decision, OpenHeal) else decision.reason)
    yield Line(
        f"{_word(decision)}: {decision.message}",
        Facts(job=view.job, reason=reason, **_about(decision, view)),
        logging.WARNING if reason in GRAVE else logging.INFO,
    )
    if isinstance(decision, BeginEpoch):
        for heal in view.heals:
            if heal.is_open and heal.epoch == decision.order.epoch:
                message = f"{heal.recipient} goes on in epoch {heal.epoch}, from {heal.rung}: {heal.message}"
                yield Line(message, Facts(job=view.job, reason=heal.reason, **_of(heal)))


def _word(decision: Decision) -> str:
    """A wait without its end: that is seconds since 1970 here, which nobody reads."""
    return f"Wait ({decision.reason})" if isinstance(decision, Wait) else str(decision)


def _about(decision: Decision, view: JobView) -> Facts:
    match decision:
        case OpenHeal():
            return Facts(heal=decision.name, member=decision.recipient, epoch=view.epoch.number)
        case Assign() | Conclude():
            return _of(next(each for each in view.heals if each.name == decision.heal))
        case BeginEpoch():
            return Facts(epoch=decision.order.epoch)
        case EndEpoch() | LeaveEpoch() | Restart():
            return Facts(epoch=decision.epoch)
        case Nothing():
            return Facts()
        case Wait():
            waiting = [each for each in view.heals if each.is_open]
            return _of(waiting[0]) if len(waiting) == 1 else Facts(epoch=view.epoch.number)


def _of(heal: HealRecord) -> Facts:
    attempt = heal.assignment.attempt if heal.assignment else None
    return Facts(heal=heal.name, member=heal.recipient, attempt=attempt, epoch=heal.epoch)
