"""What to tell people: conditions of a job and of a heal, and why a pod may or may not give.

Derived from view and records every time; nothing here is stored and nothing is decided.
"""

from collections.abc import Iterable, Iterator

from checkpointheal.contract.base import Frozen
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import TransferFacts
from checkpointheal_operator.core.decisions import Decision, Wait, held_by
from checkpointheal_operator.core.disagreeing import is_undecided
from checkpointheal_operator.core.donors import Case, choose_donors
from checkpointheal_operator.core.findings import Finding, findings
from checkpointheal_operator.core.heal_record import HealRecord, Refusal
from checkpointheal_operator.core.moment import Moment, at
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.plan import heal_of
from checkpointheal_operator.core.protection import FLAWS
from checkpointheal_operator.core.reasons import Reason, Rung
from checkpointheal_operator.core.restore import restore_point
from checkpointheal_operator.core.standstill import waits_long
from checkpointheal_operator.core.view import JobView

NO_AGENT = frozenset(
    (
        Reason.NOT_INJECTED,
        Reason.NAMESPACE_OPTED_OUT,
        Reason.AGENT_IMAGE_UNAVAILABLE,
        Reason.AGENT_CANNOT_START,
        Reason.AGENT_OUT_OF_MEMORY,
    )
)
"""Whoever has no agent is not protected; and no epoch begins without it, so the job is degraded too."""
TOLD_FLAWS = 16
"""More than these are counted: a condition's message has an end, and nobody reads a thousand sentences."""


class Condition(Frozen):
    """One thing that is so or not so, in the words of the Kubernetes API."""

    type: str
    status: bool
    reason: str
    message: str


class Explanation(Frozen):
    """Why a member gets its state from where it does."""

    member: MemberId
    reason: Reason
    message: str
    donors: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """One sentence each, the answer first."""
        return (self.message, *self.donors, *(f"{each.reason}: {each.message}" for each in self.refusals))


def job_conditions(view: JobView, now: float, last: Decision | None = None) -> tuple[Condition, ...]:
    """`Training`, `Protected`, `Degraded` and `Done` of the job. `last`: what was decided last, where that is known."""
    moment = at(view, now)
    done = all(moment.places[member].is_done for member in moment.members)
    found = findings(moment)
    bare = _told_once((str(each.reason), each.message) for each in found if _is_bare(moment, each))
    amiss = [(str(Reason.HELD), held)] if (held := held_by(last)) else []
    amiss += _told_once((str(each.reason), each.message) for each in found)
    heals = sorted((heal for heal in view.heals if heal.is_open), key=lambda heal: heal.name)
    amiss += [(str(heal.cause), heal.message) for heal in heals]
    if not amiss and (waits := waits_long(moment, last)) is not None:
        amiss.append((str(waits.reason), waits.message))
    over = (Reason.ALL_DONE, Reason.ALL_DONE.tell())
    return (
        _training(moment, done=done),
        _flaw("Protected", bare, amiss=False, where=" with its memory"),
        _flaw("Degraded", amiss, amiss=True),
        _condition("Done", True, *over) if done else _not_yet("Done", "the last step"),
    )


def _told_once(found: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """What ails a pod ails all its seats, in the same words."""
    return [*dict.fromkeys(found)]


def standing_back(older: str, pod: str) -> tuple[Condition, ...]:
    """All that is told of a job whose `pod` an `older` policy selects too: of what it does not look after, nothing."""
    message = Reason.CONFLICTING.tell(older=older, pod=pod)
    return (_condition("Conflicting", True, Reason.CONFLICTING, message),)


def set_aside(reason: Reason, message: str) -> tuple[Condition, ...]:
    """All that is told of a job whose places nobody can go by: nobody in it is protected."""
    states = ((reason, True), ("Protected", False), ("Degraded", True))
    return tuple(_condition(each, status, reason, message) for each, status in states)


def heal_conditions(view: JobView, heal: HealRecord) -> tuple[Condition, ...]:
    """`DonorAssigned`, `Transferred`, `Verified` and `Healed`, in the order in which they come true."""
    healed = _condition("Healed", heal.healed, heal.reason, heal.message)
    if heal.assignment is None and heal.rung is not None and heal.rung != Rung.PEER:
        message = Reason.NOT_NEEDED.tell(rung=heal.rung)
        crossing = ("DonorAssigned", "Transferred", "Verified")
        return (*(_condition(each, False, Reason.NOT_NEEDED, message) for each in crossing), healed)
    return (*_crossing(view, heal), healed)


def transfer_of(view: JobView, heal: HealRecord) -> TransferFacts | None:
    """How far its bytes are, as its recipient's agent last said; as recorded once it is concluded."""
    if not heal.is_open:
        return heal.transfer
    heard = at(view, float("-inf")).heard.get(heal.pod_uid)
    transfer = heard.report.transfer if heard else None
    return transfer if transfer and transfer.heal == heal.name else None


def explain(view: JobView, now: float, member: MemberId) -> Explanation:
    """What `member` would be given now and by whom, with every candidate's refusal or rank."""
    moment = at(view, now)
    point = restore_point(moment)
    if isinstance(point, Wait):
        return Explanation(member=member, reason=point.reason, message=point.message)
    if point.step is None:
        message = Reason.NO_RESTORE_STEP.tell(what=point.message)
        return Explanation(member=member, reason=Reason.NO_RESTORE_STEP, message=message)
    place = moment.places.get(member, Place(member))
    choice = choose_donors(Case(moment, point, member, heal_of(moment, place)))
    reason = Reason.STATE_MISSING if point.holds(place) is None else Reason.HOLDS_STATE
    donors = tuple(
        Reason.ELIGIBLE.tell(member=holder.place.member, step=point.step, rank=rank)
        for rank, holder in enumerate(choice.eligible, start=1)
    )
    message = reason.tell(member=member, step=point.step)
    return Explanation(member=member, reason=reason, message=message, donors=donors, refusals=choice.refusals)


def _is_bare(moment: Moment, found: Finding) -> bool:
    """An agent that never reported, though it had its time, may not be able to: nothing is known to protect its pod.

    Nor does one that is silent for longer than a trainer, which it would have to answer, waits in restore().
    """
    place = moment.places[found.member]
    if found.reason == Reason.MEMBERS_DISAGREE:
        return is_undecided(moment)
    if found.reason == Reason.NOT_HEARD_FROM:
        return place.pod is not None and moment.now >= moment.report_due(place.pod)
    if found.reason == Reason.AGENT_SILENT:
        return place.heard is not None and moment.age(place.heard) >= moment.view.policy.restore_budget
    return found.reason in FLAWS | NO_AGENT | {Reason.HELD_BY_LOST_NODE, Reason.REPLICAS_DIFFER}


def _training(moment: Moment, *, done: bool) -> Condition:
    epoch = moment.view.epoch
    if done:
        return _condition("Training", False, Reason.ALL_DONE, Reason.ALL_DONE.tell())
    if moment.unseen_epoch:
        return _condition("Training", True, Reason.BEGAN_BEFORE, Reason.BEGAN_BEFORE.tell(epoch=moment.unseen_epoch))
    if epoch.number == 0:
        return _not_yet("Training", "the first epoch")
    return _condition("Training", epoch.open, epoch.reason, epoch.message)


def _flaw(name: str, found: list[tuple[str, str]], *, amiss: bool, where: str = "") -> Condition:
    """`amiss` is the condition's status where something was found; the first reason stands for all."""
    if not found:
        return _condition(name, not amiss, Reason.ALL_WELL, Reason.ALL_WELL.tell(where=where))
    told = [message for _, message in found[:TOLD_FLAWS]]
    more = [f"and {len(found) - TOLD_FLAWS} more"] if len(found) > TOLD_FLAWS else []
    return _condition(name, amiss, found[0][0], "; ".join(told + more))


def _crossing(view: JobView, heal: HealRecord) -> Iterator[Condition]:
    assigned, transfer = heal.assignment, transfer_of(view, heal)
    if assigned is None:
        yield _not_yet("DonorAssigned", "an assignment")
    else:
        message = f"attempt {assigned.attempt}: step {assigned.step} from {assigned.donors[0].member}"
        yield _condition("DonorAssigned", True, Reason.IN_ORDER, message)
    current = assigned is not None and transfer is not None and transfer.attempt == assigned.attempt
    if transfer is None or not current or transfer.state == "asking":
        yield _not_yet("Transferred", "the first byte")
        yield _not_yet("Verified", "the last byte")
        return
    verified, crossed = transfer.state == "verified", f"{transfer.bytes} of {transfer.total} bytes crossed"
    reason = transfer.reason if transfer.state == "failed" and transfer.reason else str(Reason.IN_ORDER)
    yield _condition("Transferred", verified, reason, crossed)
    yield _condition("Verified", verified, reason, transfer.message or crossed)


def _condition(name: str, status: bool, reason: str, message: str) -> Condition:
    return Condition(type=name, status=status, reason=reason, message=message)


def _not_yet(name: str, what: str) -> Condition:
    return _condition(name, False, Reason.NOT_YET, Reason.NOT_YET.tell(what=what))
