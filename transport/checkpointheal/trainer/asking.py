"""How does a trainer ask for a state, and how long does it wait?

Must not know what becomes of the answer.
"""

import logging

from checkpointheal.contract.base import LONGEST
from checkpointheal.contract.trainer import AgentSays, Restored, Wait, Waiting, Withdraw
from checkpointheal.errors import Misuse
from checkpointheal.trainer.line import Line

log = logging.getLogger("checkpointheal")


def ask(line: Line, wait: Wait, *, ever: bool = False) -> Restored | None:
    """The answer; None once the budget is over, and then the request is withdrawn. `ever`: it never is.

    What was said of an earlier answer is over; an agent that comes back must not hear it after this.
    """
    line.unsay("applied")
    line.unsay("rejoined")
    answer = _next_word(line, wait, ever=ever)
    while isinstance(answer, Waiting):
        wait = wait.but(held=answer.hold)
        answer = _next_word(line, wait, ever=ever)
    line.unsay("wait")
    if answer is None:
        line.say(Withdraw(request=wait.request))
        log.warning(
            "checkpointheal: nothing was restored within %g s: load your checkpoint, or start fresh", wait.budget
        )
    return answer


def as_budget(given: object) -> float:
    """The seconds that the user gave; without an end, the most that can be said. Raises Misuse for what is none."""
    try:
        seconds = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = -1.0
    if not seconds >= 0:
        raise Misuse(
            f"restore() was given budget={given!r}: a budget is a number of seconds from 0 on; math.inf waits for as "
            "long as it takes"
        )
    return min(seconds, LONGEST)


def _next_word(line: Line, wait: Wait, *, ever: bool) -> Restored | Waiting | None:
    """The answer, or a word that starts or stops the budget; None once the budget is over."""

    def heard(said: AgentSays) -> bool:
        if isinstance(said, Waiting):
            return said.request == wait.request and said.hold != wait.held
        return isinstance(said, Restored) and said.request == wait.request

    line.say(wait, again="wait")
    said = line.wait_for_any(heard, None if wait.held or ever else wait.budget)
    return said if isinstance(said, Restored | Waiting) else None
