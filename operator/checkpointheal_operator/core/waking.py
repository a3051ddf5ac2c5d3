"""How far does one look go, and when is the next one due though nothing is new?

For both walls. Must not know what wakes them else.
"""

from typing import assert_never

from checkpointheal_operator.core import drills
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
from checkpointheal_operator.core.view import JobView

DECISIONS_AT_ONCE = 64
"""After so many the facts are gathered again. More would be a fault of ours: the core settles."""


def wakes_at(view: JobView, last: Decision, now: float) -> float | None:
    """When time alone may change the answer, after `last` was decided; None: only a new fact can."""
    times = (_until(last, now), drills.wakes_at(view, now))
    return min((each for each in times if each is not None), default=None)


def _until(last: Decision, now: float) -> float | None:
    match last:
        case Wait():
            return last.until
        case Nothing():
            return None
        case OpenHeal() | Assign() | BeginEpoch() | LeaveEpoch() | EndEpoch() | Restart() | Conclude():
            return now
    assert_never(last)
