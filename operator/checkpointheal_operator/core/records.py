"""What is written down once a decision has been carried out.

Both outside walls (cluster, local processes) store what comes out of here; neither has a rule of its own. The view
that comes back is what the next `decide` would see if no fact had changed.
"""

from collections.abc import Callable
from typing import assert_never

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
from checkpointheal_operator.core.epoch_record import EpochRecord
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.likeness import begun
from checkpointheal_operator.core.reasons import Rung
from checkpointheal_operator.core.view import JobView


def advance(view: JobView, decision: Decision, now: float) -> JobView:
    """The records after `decision`. Nothing and Wait leave no trace; a second time changes nothing."""
    match decision:
        case OpenHeal():
            return _opened(view, decision, now)
        case Assign():
            return _with_heal(view, decision.heal, lambda heal: _assigned(heal, decision, now))
        case Conclude():
            return _with_heal(view, decision.heal, lambda heal: _concluded(heal, decision, now))
        case BeginEpoch():
            return _begun(view, decision, now)
        case LeaveEpoch():
            return _with_epoch(view, _left(view.epoch, decision))
        case EndEpoch():
            witnesses = () if decision.anew else view.remembered
            return _with_epoch(view, _ended(view.epoch, decision, now), remembered=witnesses)
        case Restart():
            return _with_epoch(view, _with_restarts(view.epoch, decision))
        case Nothing() | Wait():
            return view
    assert_never(decision)


def prune(heals: tuple[HealRecord, ...], keep: int) -> tuple[HealRecord, ...]:
    """Every open heal and the `keep` latest concluded ones."""
    over = sorted((h for h in heals if not h.is_open), key=lambda h: (h.concluded_at or 0.0, h.name), reverse=True)
    kept = {heal.name for heal in over[:keep]}
    return tuple(heal for heal in heals if heal.is_open or heal.name in kept)


def _with_epoch(view: JobView, epoch: EpochRecord, **more: object) -> JobView:
    """With an epoch it is written down whose it is."""
    return view.but(epoch=epoch, known_as=view.job, **more)


def _opened(view: JobView, decision: OpenHeal, now: float) -> JobView:
    if any(heal.name == decision.name and heal.is_open for heal in view.heals):
        return view
    others = tuple(heal for heal in view.heals if heal.name != decision.name)
    before = max((heal.highest_attempt for heal in view.heals if heal.name == decision.name), default=0)
    noticed = view.epoch.ended_at
    heal = HealRecord(
        noticed_at=now if noticed is None else noticed,
        opened_at=now,
        reason=decision.cause,
        attempts_before=before,
        **dict(decision),
    )
    return view.but(heals=(*others, heal))


def _assigned(heal: HealRecord, decision: Assign, now: float) -> HealRecord:
    if heal.assignment == decision.assignment:
        return heal
    return heal.but(
        assignment=decision.assignment,
        assigned_at=now,
        tries=heal.tries + 1,
        failed=decision.failed,
        refusals=decision.refusals,
        reason=decision.reason,
        message=decision.message,
    )


def _concluded(heal: HealRecord, decision: Conclude, now: float) -> HealRecord:
    if not heal.is_open:
        return heal
    return heal.but(
        concluded_at=now,
        healed=decision.healed,
        transfer=decision.transfer,
        applied_seconds=decision.applied_seconds,
        reason=decision.reason,
        message=decision.message,
    )


def _with_heal(view: JobView, name: str, change: Callable[[HealRecord], HealRecord]) -> JobView:
    heals = tuple(change(heal) if heal.name == name else heal for heal in view.heals)
    return view.but(heals=heals)


def _begun(view: JobView, decision: BeginEpoch, now: float) -> JobView:
    order = decision.order
    if view.epoch.number >= order.epoch:
        return view
    rungs = {(each.pod_uid, each.agent, each.request): each.rung for each in decision.members}
    heals = tuple(
        _for_epoch(heal, decision, rungs.get((heal.pod_uid, heal.agent, heal.request)), now) for heal in view.heals
    )
    epoch = EpochRecord(
        number=order.epoch,
        open=True,
        began_at=now,
        step=order.step,
        highest=order.highest,
        rung=Rung(order.rung),
        reason=decision.reason,
        message=decision.message,
        members=decision.members,
        left_out=decision.left_out,
        restarts=view.epoch.restarts if decision.left_out else (),
    )
    return _with_epoch(view, begun(epoch, decision), heals=heals)


def _for_epoch(heal: HealRecord, decision: BeginEpoch, rung: Rung | None, now: float) -> HealRecord:
    if rung is None or not heal.is_open:
        return heal
    return heal.but(
        epoch=decision.order.epoch,
        rung=rung,
        begun_at=now,
        reason=decision.reason,
        message=decision.message,
    )


def _left(epoch: EpochRecord, decision: LeaveEpoch) -> EpochRecord:
    """It stays open: who is lost before it is left is lost to it."""
    if not epoch.open or epoch.number != decision.epoch:
        return epoch
    return epoch.but(leaving=True, reason=decision.reason, message=decision.message)


def _with_restarts(epoch: EpochRecord, decision: Restart | EndEpoch) -> EpochRecord:
    return epoch.but(restarts=tuple(sorted({*epoch.restarts, *decision.restart_trainer})))


def _ended(epoch: EpochRecord, decision: EndEpoch, now: float) -> EpochRecord:
    """An epoch ends once; ending it again only adds trainers to be restarted.

    Of an epoch that the records never saw begin, nothing is known but its number, and whether members were ever alike;
    of another run, less.
    """
    if decision.anew:
        said = {"reason": decision.reason, "message": decision.message}
        return epoch if decision.epoch <= epoch.number else EpochRecord(number=decision.epoch, ended_at=now, **said)
    told = _with_restarts(epoch, decision)
    if not epoch.open and decision.epoch == epoch.number:
        return told
    known = epoch if decision.epoch == epoch.number else _unseen(epoch, decision.epoch)
    return known.but(
        open=False,
        ended_at=now,
        lost=decision.lost,
        sound=decision.sound,
        restarts=told.restarts,
        reason=decision.reason,
        message=decision.message,
    )


def _unseen(before: EpochRecord, number: int) -> EpochRecord:
    return EpochRecord(number=number, highest=before.highest, alike=before.alike, apart=before.apart)
