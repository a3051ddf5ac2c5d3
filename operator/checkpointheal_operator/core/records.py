"""What is written down once a decision has been carried out.

Both outside walls (cluster, local processes) store what comes out of here; neither has a rule of its own. The view
that comes back is what the next `decide` would see if no fact had changed.
"""

from checkpointheal_operator.core.decisions import Assign, BeginEpoch, Conclude, Decision, EndEpoch, OpenHeal
from checkpointheal_operator.core.reasons import Rung
from checkpointheal_operator.core.view import EpochRecord, HealRecord, JobView


def advance(view: JobView, decision: Decision, now: float) -> JobView:
    """The records after `decision`. Nothing and Wait leave no trace; a second time changes nothing."""
    match decision:
        case OpenHeal():
            return _opened(view, decision, now)
        case Assign():
            return _with_heal(view, decision.heal, **_assigned(view, decision, now))
        case Conclude():
            return _with_heal(view, decision.heal, **_concluded(decision, now))
        case BeginEpoch():
            return _begun(view, decision, now)
        case EndEpoch():
            return view.model_copy(update={"epoch": _ended(view.epoch, decision, now)})
        case _:
            return view


def prune(heals: tuple[HealRecord, ...], keep: int) -> tuple[HealRecord, ...]:
    """Every open heal and the `keep` latest concluded ones."""
    over = sorted((h for h in heals if not h.is_open), key=lambda h: (h.concluded_at or 0.0, h.name), reverse=True)
    kept = {heal.name for heal in over[:keep]}
    return tuple(heal for heal in heals if heal.is_open or heal.name in kept)


def _opened(view: JobView, decision: OpenHeal, now: float) -> JobView:
    if any(heal.name == decision.name for heal in view.heals):
        return view
    noticed = view.epoch.ended_at
    heal = HealRecord(
        noticed_at=now if noticed is None else noticed, opened_at=now, reason=decision.cause, **dict(decision)
    )
    return view.model_copy(update={"heals": (*view.heals, heal)})


def _assigned(view: JobView, decision: Assign, now: float) -> dict[str, object]:
    tries = next((heal.tries for heal in view.heals if heal.name == decision.heal), 0)
    return {
        "assignment": decision.assignment,
        "assigned_at": now,
        "tries": tries + 1,
        "failed": decision.failed,
        "refusals": decision.refusals,
        "reason": decision.reason,
        "message": decision.message,
    }


def _concluded(decision: Conclude, now: float) -> dict[str, object]:
    return {
        "concluded_at": now,
        "healed": decision.healed,
        "transfer": decision.transfer,
        "applied_seconds": decision.applied_seconds,
        "reason": decision.reason,
        "message": decision.message,
    }


def _with_heal(view: JobView, name: str, **update: object) -> JobView:
    heals = tuple(heal.model_copy(update=update) if heal.name == name else heal for heal in view.heals)
    return view.model_copy(update={"heals": heals})


def _begun(view: JobView, decision: BeginEpoch, now: float) -> JobView:
    order = decision.order
    rungs = {(each.pod_uid, each.agent, each.request): each.rung for each in decision.members}
    heals = tuple(
        _for_epoch(heal, decision, rungs.get((heal.pod_uid, heal.agent, heal.request)), now) for heal in view.heals
    )
    epoch = EpochRecord(
        number=order.epoch,
        open=True,
        began_at=now,
        step=order.step,
        rung=Rung(order.rung),
        reason=decision.reason,
        message=decision.message,
        members=decision.members,
    )
    return view.model_copy(update={"epoch": epoch, "heals": heals})


def _for_epoch(heal: HealRecord, decision: BeginEpoch, rung: Rung | None, now: float) -> HealRecord:
    if rung is None or not heal.is_open:
        return heal
    update = {
        "epoch": decision.order.epoch,
        "rung": rung,
        "begun_at": now,
        "reason": decision.reason,
        "message": decision.message,
    }
    return heal.model_copy(update=update)


def _ended(epoch: EpochRecord, decision: EndEpoch, now: float) -> EpochRecord:
    """An epoch ends once; ending it again only adds trainers to be restarted."""
    restarts = tuple(sorted({*epoch.restarts, *decision.restart_trainer}))
    if not epoch.open and decision.epoch == epoch.number:
        return epoch.model_copy(update={"restarts": restarts})
    update = {
        "number": decision.epoch,
        "open": False,
        "ended_at": now,
        "lost": decision.lost,
        "restarts": restarts,
        "reason": decision.reason,
        "message": decision.message,
    }
    return epoch.model_copy(update=update)
