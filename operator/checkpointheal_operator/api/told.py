"""How do the core's conditions stand in an object?

A condition keeps the time of its last change; an open heal is not unhealed, it is not known yet. Must not know what a
condition is derived from.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from checkpointheal_operator.api.base import Condition, second
from checkpointheal_operator.core import status
from checkpointheal_operator.core.decisions import Nothing, Wait


def told(
    found: Iterable[status.Condition],
    before: Sequence[Condition],
    now: float,
    generation: int,
    unknown: Sequence[str] = (),
) -> tuple[Condition, ...]:
    """The conditions to be written at `now`, in seconds, after those that stand there. `unknown`: types of such."""
    changed_at = {(each.type, each.status): each.last_transition_time for each in before}
    return tuple(
        Condition(
            type=each.type,
            status=(state := _state(each, unknown)),
            reason=each.reason or "Unknown",
            message=each.message,
            observed_generation=generation,
            last_transition_time=changed_at.get((each.type, state), second(now)),
        )
        for each in found
    )


def is_done(each: Condition) -> bool:
    """Whether it says that every member was done: the next run is known by that, whatever happens in between."""
    return (each.type, each.status) == ("Done", "True")


def is_news(found: Sequence[Condition], before: Sequence[Condition]) -> bool:
    """Whether people would learn at once that something else is so, or so for another reason."""

    def gist(each: Condition) -> tuple[str, str, str, int | None]:
        return each.type, each.status, each.reason, each.observed_generation

    return list(map(gist, found)) != list(map(gist, before))


def is_said_otherwise(found: Sequence[Condition], before: Sequence[Condition]) -> bool:
    """Whether the sentences differ by more than ages and steps, which are others at every look."""
    return [_uncounted(each.message) for each in found] != [_uncounted(each.message) for each in before]


def awaited(decision: Nothing | Wait) -> tuple[str, str]:
    """What is waited for, to be held against what was waited for before: the same while only ages and steps grow."""
    return decision.reason, _uncounted(decision.message)


def _uncounted(sentence: str) -> str:
    return _COUNTED.sub("", sentence)


def _state(each: status.Condition, unknown: Sequence[str]) -> Literal["True", "False", "Unknown"]:
    if each.type in unknown:
        return "Unknown"
    return "True" if each.status else "False"


_COUNTED = re.compile(r"\b[0-9]+(\.[0-9]+)? s\b|\bstep [0-9]+\b")
