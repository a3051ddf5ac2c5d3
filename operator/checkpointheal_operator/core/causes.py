"""Why a member came back: was it lost itself, or did it only follow one that was?

Asked when its new trainer waits, with the latest epoch as the witness. Must not know what it will be given.
"""

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import TrainerExit
from checkpointheal.contract.trainer import EXIT_EPOCH_OVER
from checkpointheal_operator.core.epoch_record import EpochMember
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.reasons import Cause, Reason


def why_lost(moment: Moment, member: MemberId) -> Cause | Reason | None:
    """The cause; `FollowedPeer` where it only followed.

    None where this life of it is still there, as the survivors of level 2 are, which outlive their epoch and ask again;
    and as long as a peer that may have been lost was not heard.
    """
    known, place = moment.enrolled.get(member), moment.places[member]
    if known is None or place.pod is None or place.report is None:
        return None
    if place.pod.uid != known.pod_uid:
        changed = place.pod.revision and known.revision and place.pod.revision != known.revision
        return Cause.ROLLED_OUT if changed else Cause.REPLACED
    if place.report.trainer.incarnation == known.incarnation:
        return None
    if known.incarnation in moment.view.epoch.restarts:
        return Cause.STOPPED
    return _why_ended(moment, member, place.report.trainer.exit)


def crashes(view_heals: tuple[HealRecord, ...], heal: HealRecord) -> int:
    """How many trainers of the heal's member crashed at the heal's step, this one included."""
    return len(
        {
            each.incarnation
            for each in view_heals
            if (each.recipient, each.cause, each.crash_step) == (heal.recipient, Cause.CRASHED, heal.crash_step)
        }
    )


def _why_ended(moment: Moment, member: MemberId, exit_: TrainerExit | None) -> Cause | Reason | None:
    """A signal is a crash. An error code is one only where nobody else was lost first: peers' deaths raise errors."""
    if exit_ is not None and (exit_.told or exit_.code == EXIT_EPOCH_OVER):
        return Reason.FOLLOWED_PEER
    if exit_ is not None and exit_.signal is not None:
        return Cause.CRASHED
    others = [each for each in moment.view.epoch.members if each.member != member]
    if member not in moment.view.epoch.lost or any(_lost_outright(moment, each) for each in others):
        return Reason.FOLLOWED_PEER
    if any(moment.awaited_until(moment.places[each.member]) is not None for each in others):
        return None
    return Cause.CRASHED


def _lost_outright(moment: Moment, known: EpochMember) -> bool:
    """Pod gone or replaced, trainer stopped or killed: no peer's death does that to a member."""
    place = moment.places[known.member]
    if place.is_done:
        return False
    if place.pod is None or place.pod.uid != known.pod_uid or known.incarnation in moment.view.epoch.restarts:
        return True
    trainer = place.report.trainer if place.report else None
    if place.pod.terminating:  # with long to go it may train on
        return trainer is None or trainer.state != "training"
    if trainer is None or trainer.exit is None:
        return False
    if trainer.incarnation == known.incarnation != trainer.exit.incarnation:
        return False
    return trainer.exit.signal is not None and not trainer.exit.told
