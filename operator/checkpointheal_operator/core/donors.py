"""Who may give a member its state: a chain of refusals for every candidate, then a ranking of the rest.

Conservative about the donor: a healthy replica that healing slows or breaks is worse than one heal delayed. A refusal
names the first rule that the candidate breaks; no rule relies on an earlier one for its own safety.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.orders import Assignment
from checkpointheal_operator.core.facts import PodFacts
from checkpointheal_operator.core.heal_record import HealRecord, Refusal
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.probing import is_there
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.restore import RestorePoint
from checkpointheal_operator.core.vote import Holder


@dataclass(frozen=True)
class Case:
    """One recipient and the step that it needs."""

    moment: Moment
    point: RestorePoint
    recipient: MemberId
    heal: HealRecord | None = None
    assigns: bool = False
    """Donors are to be assigned now: they must be there, not only have been."""

    @cached_property
    def busy(self) -> Counter[str]:
        """How many other recipients each donor serves, by pod UID: every rule and every rank asks."""
        return Counter(serving(self.moment, self.point, besides=self.heal.name if self.heal else None))


@dataclass(frozen=True)
class Candidate:
    """One pod, or one empty place, as a donor."""

    place: Place
    pod: PodFacts | None
    superseded: bool = False

    @property
    def uid(self) -> str:
        """The pod's UID; empty for an empty place."""
        return self.pod.uid if self.pod else ""


@dataclass(frozen=True)
class DonorChoice:
    """Who may give, best first, and why the others may not."""

    eligible: tuple[Holder, ...]
    refusals: tuple[Refusal, ...]
    asked: tuple[str, ...] = ()
    """Pod UIDs of those that may give once they have answered."""


DOUBLED = 6
"""Times that a rest grows: a heal that is held is tried for as long as it is held."""

Rule = Callable[[Case, Candidate], str | None]


def choose_donors(case: Case) -> DonorChoice:
    """Refuse or rank every pod of the job."""
    eligible, refusals, asked = [], [], []
    for candidate in _candidates(case.moment):
        refusal = _refuse(case, candidate)
        holder = case.point.holds(candidate.place)
        if refusal is not None:
            refusals.append(refusal)
            asked += [candidate.uid] if refusal.reason == Reason.NOT_PROBED else []
        elif holder is not None:
            eligible.append(holder)
    ranked = tuple(sorted(eligible, key=lambda holder: _rank(case, holder)))
    return DonorChoice(ranked, tuple(refusals), tuple(asked))


def serving(moment: Moment, point: RestorePoint, besides: str | None = None) -> list[str]:
    """Pod UIDs of donors, once for each recipient that still receives from them, the heal `besides` left out."""
    uids = []
    for heal in moment.view.heals:
        if heal.name == besides or not heal.is_open or heal.assignment is None or moment.now >= due(moment, heal):
            continue
        if point.holds(moment.places.get(heal.recipient, Place(heal.recipient))) is None:
            uids.append(current_donor(moment, heal, heal.assignment))
    return uids


def due(moment: Moment, heal: HealRecord) -> float:
    """When the heal's assignment must have ended; never where it has none.

    No leader ends one by the clock of the leader before: each gives it its whole time.
    """
    if heal.assignment is None or heal.assigned_at is None:
        return float("inf")
    return max(moment.written_at(heal.assigned_at), moment.view.leader_since) + heal.assignment.deadline


def rested_at(moment: Moment, heal: HealRecord, donor_uid: str) -> float:
    """When a donor that failed the heal may be tried again: each further failure doubles its rest, up to a limit."""
    count = heal.failed.count(donor_uid)
    if count == 0 or heal.assigned_at is None:
        return float("-inf")
    return moment.written_at(heal.assigned_at) + moment.view.policy.retry_pause * 2.0 ** min(count - 1, DOUBLED)


def current_donor(moment: Moment, heal: HealRecord, assignment: Assignment) -> str:
    """Pod UID of the donor that the recipient is at: it goes down its list by itself when one dies."""
    heard = moment.heard.get(heal.pod_uid)
    transfer = heard.report.transfer if heard else None
    if transfer is not None and transfer.heal == heal.name and transfer.attempt == assignment.attempt:
        for donor in assignment.donors:
            if donor.pod == transfer.donor:
                return donor.pod_uid
    return assignment.donors[0].pod_uid


def _candidates(moment: Moment) -> Iterator[Candidate]:
    for member in moment.members:
        place = moment.places[member]
        yield Candidate(place, place.pod)
        for pod in place.others:
            yield Candidate(place, pod, superseded=True)


def _refuse(case: Case, candidate: Candidate) -> Refusal | None:
    for reason, rule in _CHAIN:
        if (message := rule(case, candidate)) is not None:
            pod = candidate.pod.name if candidate.pod else None
            return Refusal(member=candidate.place.member, pod=pod, reason=reason, message=message)
    return None


def _same_member(case: Case, candidate: Candidate) -> str | None:
    if candidate.place.member != case.recipient:
        return None
    return Reason.SAME_MEMBER.tell(member=candidate.place.member)


def _same_replica(case: Case, candidate: Candidate) -> str | None:
    if candidate.place.member.replica != case.recipient.replica:
        return None
    return Reason.SAME_REPLICA.tell(member=candidate.place.member)


def _coordinate_mismatch(case: Case, candidate: Candidate) -> str | None:
    theirs, needed = candidate.place.member.coordinate, case.recipient.coordinate
    if theirs == needed:
        return None
    return Reason.COORDINATE_MISMATCH.tell(member=candidate.place.member, theirs=theirs, needed=needed)


def _failed_this_heal(case: Case, candidate: Candidate) -> str | None:
    """A fault that persists would otherwise use up every attempt within a moment."""
    if case.heal is None or case.moment.now >= rested_at(case.moment, case.heal, candidate.uid):
        return None
    count = case.heal.failed.count(candidate.uid)
    return Reason.FAILED_THIS_HEAL.tell(member=candidate.place.member, count=count)


def _pod_gone(case: Case, candidate: Candidate) -> str | None:
    return Reason.POD_GONE.tell(member=candidate.place.member) if candidate.pod is None else None


def _superseded(case: Case, candidate: Candidate) -> str | None:
    return Reason.SUPERSEDED.tell(member=candidate.place.member) if candidate.superseded else None


def _draining(case: Case, candidate: Candidate) -> str | None:
    draining = candidate.pod is not None and candidate.pod.terminating
    return Reason.DRAINING.tell(member=candidate.place.member) if draining else None


def _not_heard_from(case: Case, candidate: Candidate) -> str | None:
    if candidate.uid in case.moment.heard:
        return None
    return Reason.NOT_HEARD_FROM.tell(member=candidate.place.member)


def _heartbeat_stale(case: Case, candidate: Candidate) -> str | None:
    heard = case.moment.heard.get(candidate.uid)
    if heard is None or case.moment.is_fresh(candidate.uid):
        return None
    return Reason.HEARTBEAT_STALE.tell(member=candidate.place.member, age=case.moment.age(heard))


def _not_up_to_date(case: Case, candidate: Candidate) -> str | None:
    steps = sorted(case.moment.generations(candidate.place.report))
    if case.point.step in steps:
        return None
    held = "step " + ", ".join(map(str, steps)) if steps else "no state"
    return Reason.NOT_UP_TO_DATE.tell(member=candidate.place.member, steps=held, step=case.point.step)


def _not_digested(case: Case, candidate: Candidate) -> str | None:
    held = case.moment.generations(candidate.place.report).get(case.point.step or 0)
    if held is None or held.state_digest is not None:
        return None
    return Reason.NOT_DIGESTED.tell(member=candidate.place.member, step=case.point.step)


def _voted(reason: Reason) -> tuple[Reason, Rule]:
    def rule(case: Case, candidate: Candidate) -> str | None:
        ballot = case.point.ballots.get(candidate.place.member.coordinate)
        if ballot is None or ballot.refused.get(candidate.uid) != reason:
            return None
        return reason.tell(member=candidate.place.member, step=case.point.step)

    return reason, rule


def _already_donating(case: Case, candidate: Candidate) -> str | None:
    count, limit = case.busy[candidate.uid], case.moment.view.policy.donor_limit
    if count < limit:
        return None
    return Reason.ALREADY_DONATING.tell(member=candidate.place.member, count=count, limit=limit)


def _not_probed(case: Case, candidate: Candidate) -> str | None:
    """Last of all: only who could give otherwise is asked."""
    if case.heal is None or not case.assigns or is_there(case.moment, case.heal, candidate.uid):
        return None
    return Reason.NOT_PROBED.tell(member=candidate.place.member)


_CHAIN: tuple[tuple[Reason, Rule], ...] = (
    (Reason.SAME_MEMBER, _same_member),
    (Reason.SAME_REPLICA, _same_replica),
    (Reason.COORDINATE_MISMATCH, _coordinate_mismatch),
    (Reason.FAILED_THIS_HEAL, _failed_this_heal),
    (Reason.POD_GONE, _pod_gone),
    (Reason.SUPERSEDED, _superseded),
    (Reason.DRAINING, _draining),
    (Reason.NOT_HEARD_FROM, _not_heard_from),
    (Reason.HEARTBEAT_STALE, _heartbeat_stale),
    (Reason.NOT_UP_TO_DATE, _not_up_to_date),
    (Reason.NOT_DIGESTED, _not_digested),
    _voted(Reason.SCHEMA_DIFFERS),
    _voted(Reason.DIGEST_DISAGREES),
    _voted(Reason.NO_MAJORITY),
    (Reason.ALREADY_DONATING, _already_donating),
    (Reason.NOT_PROBED, _not_probed),
)


def _rank(case: Case, holder: Holder) -> tuple[int, int, bool, bool, bool, MemberId, str]:
    """Who failed before comes last; then the least busy, the same build, the near but not the same node."""
    failed = case.heal.failed if case.heal else ()
    home, theirs = case.moment.places.get(case.recipient, Place(case.recipient)), holder.place
    zone, node = (home.pod.zone, home.pod.node) if home.pod else ("", "")
    build = home.report.build if home.report else ""
    return (
        failed.count(holder.uid),
        case.busy[holder.uid],
        holder.build != build,
        theirs.pod is not None and theirs.pod.zone != zone,
        theirs.pod is not None and theirs.pod.node == node,
        theirs.member,
        holder.uid,
    )
