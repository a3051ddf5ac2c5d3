"""How does a heal end: healed, fallen back, or void because nobody asks any more?

Seen by what its trainer does, or by what it says that it applied: either word may be lost. Must not know what comes
next.
"""

from checkpointheal_operator.core.decisions import Conclude
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.private_parts import tell_behind
from checkpointheal_operator.core.reasons import Reason, Rung


def conclude(moment: Moment) -> Conclude | None:
    """The first open heal, by name, whose end is seen."""
    heals = sorted((heal for heal in moment.view.heals if heal.is_open), key=lambda heal: heal.name)
    return next((verdict for heal in heals if (verdict := _verdict(moment, heal))), None)


def _verdict(moment: Moment, heal: HealRecord) -> Conclude | None:
    """Healed once its trainer is seen in the epoch, by what it does or by what it applied; void once nobody asks."""
    heard, place = moment.heard.get(heal.pod_uid), moment.places.get(heal.recipient, Place(heal.recipient))
    trainer = heard.report.trainer if heard else None
    joined = trainer is not None and (trainer.incarnation, trainer.epoch) == (heal.incarnation, heal.epoch)
    if trainer and joined and (trainer.state in ("training", "done") or trainer.applied_digest is not None):
        return _trains(moment, heal)
    gone = place.pod is None or place.pod.uid != heal.pod_uid
    if gone or place.is_done or not moment.has_room_for(heal.recipient):
        return _concluded(moment, heal, Reason.RECIPIENT_GONE)
    if heard and place.is_waiting and (heard.report.agent, heard.report.trainer.request) != (heal.agent, heal.request):
        return _concluded(moment, heal, Reason.ASKED_AGAIN)
    return None


def _trains(moment: Moment, heal: HealRecord) -> Conclude:
    epoch = moment.view.epoch
    is_its_own = epoch.number == heal.epoch
    if heal.rung not in (Rung.OWN_MEMORY, Rung.PEER):
        return _concluded(moment, heal, Reason.FELL_BACK, epoch.message if is_its_own else "")
    part = epoch.behind.get(heal.recipient) if is_its_own else None
    if part is None:
        return _concluded(moment, heal, Reason.HEALED)
    return _concluded(moment, heal, Reason.PRIVATE_STATE_BEHIND, tell_behind(epoch.step or 0, {heal.recipient: part}))


def _concluded(moment: Moment, heal: HealRecord, reason: Reason, more: str = "") -> Conclude:
    """`more`: why it fell back, or whose private part is of an earlier step."""
    heard = moment.heard.get(heal.pod_uid)
    transfer = heard.report.transfer if heard else None
    healed = reason in (Reason.HEALED, Reason.PRIVATE_STATE_BEHIND)
    trains = healed or reason == Reason.FELL_BACK
    message = (Reason.HEALED if healed else reason).tell(member=heal.recipient, epoch=heal.epoch)
    return Conclude(
        heal=heal.name,
        recipient=heal.recipient,
        healed=healed,
        transfer=transfer if transfer and transfer.heal == heal.name else None,
        applied_seconds=heard.report.trainer.applied_seconds if heard and trains else None,
        reason=reason,
        message=f"{message}; {more}" if more else message,
    )
