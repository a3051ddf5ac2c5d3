"""May the job go back to the user's checkpoint by itself, or does a person have to say so?

Where the policy holds it, every trainer goes on waiting, and what memory there is stays as it is. A first start is no
fallback: nothing is lost by it. Must not know what was tried before.
"""

from collections.abc import Mapping

from checkpointheal_operator.core.decisions import Wait
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.reasons import Reason, Rung
from checkpointheal_operator.core.restore import RestorePoint, highest_step

NOBODY = "make the job and its CheckpointHeal anew, both: nobody holds a state that could come back"
DONOR = "bring a donor back"
KEEPER = "bring a member back that kept it"
MENDS: Mapping[Reason, str] = {
    Reason.NO_SURVIVING_ARENA: NOBODY,
    Reason.NOTHING_KEPT: NOBODY,
    Reason.NO_ELIGIBLE_DONOR: f"{DONOR}; where members hold different bytes, delete the pods of those that are wrong",
    Reason.PRIVATE_STATE_LOST: f"{KEEPER}, or set spec.privateState.behind to Allow",
    Reason.ATTEMPTS_EXHAUSTED: "mend what makes its transfers fail: it is tried again and again",
    Reason.NO_SOUND_STEP: NOBODY,
    Reason.REPLICAS_DIFFER: NOBODY,
    Reason.PROBATION_EXHAUSTED: "delete the pod of that member: another one, best on another node, is healed anew",
    Reason.CRASH_LOOP_AT_STEP: "raise spec.attempts.crashesAtOneStep to try its memory again",
}
"""What else lets it go on; where nothing is said, DONOR."""


def hold(moment: Moment, point: RestorePoint) -> Wait | None:
    """The wait for a person's word; None where the job goes on from memory, begins, or may fall back."""
    if moment.view.policy.fallback != "Hold" or point.rung != Rung.CHECKPOINT:
        return None
    highest, mend = highest_step(moment), _mend(moment, point.reason)
    reached = "" if highest is None else f", up to step {highest},"
    message = Reason.HELD.tell(why=point.message, reached=reached, mend=mend)
    return Wait(until=None, reason=Reason.HELD, message=message)


def _mend(moment: Moment, reason: Reason) -> str:
    """Not what the policy allows already."""
    if reason == Reason.PRIVATE_STATE_LOST and moment.view.policy.private_behind == "Allow":
        return KEEPER
    return MENDS.get(reason, DONOR)
