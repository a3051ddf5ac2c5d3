"""Whose memory cannot be kept, or helps nobody else, and why?

Training goes on without it, so nobody would notice until it is needed. What comes and goes, as a buddy that was just
replaced, is not worth a line. Must not know processes.
"""

from collections.abc import Iterator

from checkpointheal_operator.core.differing import differing, tell_differing
from checkpointheal_operator.core.disagreeing import disagreeing, tell_disagreeing
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.place import has_finished
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.view import JobView

PASSING = frozenset((Reason.PRIVATE_PART_NOT_KEPT, Reason.GENERATION_SKIPPED, Reason.SLOT_DAMAGED, Reason.NO_POLICY))


class Unprotected:
    """Tells each once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def new(self, view: JobView) -> Iterator[str]:
        """A sentence for each that was not told yet."""
        for what, message in _found(view):
            if what not in self._told:
                self._told.add(what)
                yield message


def _found(view: JobView) -> Iterator[tuple[str, str]]:
    """Each, and what makes it another one: not the step, which is another at every look."""
    for report in (each.report for each in view.heard):
        for flaw in () if has_finished(report.trainer) else report.unprotected:
            if flaw.reason not in PASSING:
                message = f"{report.member} is not protected: {flaw.reason}: {flaw.message}"
                yield message, message
    moment = at(view, float("-inf"))
    if apart := differing(moment):
        message = f"the job is not protected: {Reason.REPLICAS_DIFFER}: {tell_differing(apart)}"
        yield message, message
    if found := disagreeing(moment):
        yield f"{Reason.MEMBERS_DISAGREE} {tuple(found)}", f"{Reason.MEMBERS_DISAGREE}: {tell_disagreeing(found)}"
