"""Why is a member not protected, in the words of the operator, and what helps?

An agent says what it knows in its own words and sizes; here they become a reason, a sentence and the annotation that
mends it. A word that this build does not know is passed on as it came. Must not know who is told.
"""

from checkpointheal.contract.report import AgentReport, Flaw
from checkpointheal_operator.core.annotations import AGENT_MEMORY, ARENA_SIZE
from checkpointheal_operator.core.facts import Trouble
from checkpointheal_operator.core.place import has_finished
from checkpointheal_operator.core.quantities import written
from checkpointheal_operator.core.reasons import Reason

FLAWS = frozenset(
    (
        *(Reason.ARENA_DOES_NOT_FIT, Reason.ARENA_UNUSABLE, Reason.SLOT_DAMAGED, Reason.BYTES_DIFFER),
        *(Reason.GENERATION_SKIPPED, Reason.PRIVATE_PART_NOT_KEPT, Reason.PRIVATE_STATE_TOO_LARGE),
        *(Reason.NO_CERTIFICATE, Reason.LAYOUT_DIFFERS, Reason.UNPROTECTED),
    )
)
"""All that an agent's flaw can become."""
MIB = 1 << 20


def flaws_of(report: AgentReport, who: object) -> tuple[Trouble, ...]:
    """What the agent says of its member, who is called `who`; nothing once that is done.

    That no policy selects it is for others to say: whoever looks after it knows better, and whoever does not tells it.
    """
    if has_finished(report.trainer):
        return ()
    return tuple(_trouble(flaw, who) for flaw in report.unprotected if flaw.reason != Reason.NO_POLICY)


def lacks_certificate(report: AgentReport) -> bool:
    """Its agent cannot show who it is: over TLS it neither gives nor takes a state."""
    return any(flaw.reason == Reason.NO_CERTIFICATE for flaw in report.unprotected)


def _trouble(flaw: Flaw, who: object) -> Trouble:
    reason = next((each for each in FLAWS if each == flaw.reason), None)
    if reason is None:
        message = Reason.UNPROTECTED.tell(member=who, what=": ".join(filter(None, (flaw.reason, flaw.message))))
        return Trouble(reason=Reason.UNPROTECTED, message=message)
    return Trouble(reason=reason, message=reason.tell(member=who, what=_what(flaw)))


def _what(flaw: Flaw) -> str:
    if flaw.arena_bytes is not None:
        return f"annotate its pod template with {ARENA_SIZE}: {_size(flaw.arena_bytes)}"
    if flaw.memory_bytes is not None:
        return f"annotate its pod template with {AGENT_MEMORY}, by {_size(flaw.memory_bytes)} more than it has now"
    return flaw.message or "its agent says no more"


def _size(number: int) -> str:
    """Whole mebibytes, as people annotate them."""
    return written(-(-number // MIB) * MIB)
