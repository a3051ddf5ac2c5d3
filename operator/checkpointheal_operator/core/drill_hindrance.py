"""May a drill be under way in this job?

Only where everyone trains and nobody is being healed: whatever matters more ends it.
"""

from checkpointheal.contract.orders import Peer
from checkpointheal_operator.core.drill_record import DrillSide
from checkpointheal_operator.core.losses import as_of, losses
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.reasons import Reason

Why = tuple[Reason, str]


def hindrance(moment: Moment) -> Why | None:
    """Why no drill may be under way in this job."""
    view, reason = moment.view, Reason.NOT_TRAINING
    for heal in view.heals:
        if heal.is_open:
            return Reason.HEAL_UNDER_WAY, Reason.HEAL_UNDER_WAY.tell(member=heal.recipient)
    if not view.epoch.open:
        return reason, reason.tell(what=view.epoch.message or _none_yet(moment))
    for loss in sorted(losses(moment), key=lambda each: each.at):
        return reason, reason.tell(what=as_of(moment.now, loss)[1])
    for member in moment.members:
        if (what := _idle(moment, moment.places[member])) is not None:
            return reason, reason.tell(what=what)
    return None


def _none_yet(moment: Moment) -> str:
    if moment.unseen_epoch:
        return Reason.BEGAN_BEFORE.tell(epoch=moment.unseen_epoch)
    return Reason.NOT_YET.tell(what="the first epoch")


def holder(moment: Moment, side: DrillSide) -> Peer | None:
    """If it is still that pod which holds the place, and it stays."""
    place = moment.places.get(side.member, Place(side.member))
    peer = None if place.pod is None or place.pod.terminating else place.peer
    return peer if peer is not None and peer.pod_uid == side.pod_uid else None


def _idle(moment: Moment, place: Place) -> str | None:
    if place.heard is None:
        return Reason.NOT_HEARD_FROM.tell(member=place.member)
    if not place.fresh:
        return Reason.HEARTBEAT_STALE.tell(member=place.member, age=moment.age(place.heard))
    trainer = place.heard.report.trainer
    trains = trainer.state == "training" and trainer.epoch == moment.view.epoch.number
    return None if trains else f"the trainer of {place.member} is {trainer.state}"
