"""What a recipient is to be told next: keep its assignment, take another one, or that there is none.

Attempts grow over everything that anybody has ever seen, so that a late word about an old one is ignored by all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from checkpointheal.contract.orders import Assignment, Peer
from checkpointheal.contract.report import AgentReport, TransferFacts
from checkpointheal_operator.core.believed import believed
from checkpointheal_operator.core.channel import Crossing, crossing
from checkpointheal_operator.core.decisions import Assign, Wait
from checkpointheal_operator.core.donors import Case, DonorChoice, choose_donors, current_donor, due, rested_at
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.probing import passed_over_at, question
from checkpointheal_operator.core.protection import lacks_certificate
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.vote import Holder

DONORS = 8
"""Of one assignment at most: each is told of all of them, and all that a large job has would be too many to tell."""

KEPT_FAILURES = 1024
"""As many as a `Heal` has room for. Of a heal that is held and fails for days, the oldest are forgotten."""


@dataclass(frozen=True)
class Abandonment:
    """Why a running assignment is called off, and whether its donor is to blame."""

    reason: Reason
    message: str
    failed: tuple[str, ...] = ()


def heal_name(report: AgentReport) -> str:
    """The same for every operator that sees this request, so that a second create is a conflict."""
    key = f"{report.pod_uid}/{report.agent}/{report.trainer.request}"
    return f"heal-{sha256(key.encode()).hexdigest()[:12]}"


def heal_of(moment: Moment, place: Place) -> HealRecord | None:
    """The heal that answers the place's latest request, open or not."""
    name = heal_name(place.report) if place.report else None
    return next((heal for heal in moment.view.heals if heal.name == name), None)


def next_attempt(moment: Moment) -> int:
    """One more than any agent or heal has ever seen."""
    seen = [0]
    for heard in moment.view.heard:
        seen.append(heard.report.attempt_seen)
        seen.append(heard.report.transfer.attempt if heard.report.transfer else 0)
    made = [heal.highest_attempt for heal in moment.view.heals]
    return max((*believed(seen), *made)) + 1


def abandonment(case: Case, heal: HealRecord, assignment: Assignment) -> Abandonment | None:
    """Why `assignment` cannot stand; None while it may."""
    attempt, moment = assignment.attempt, case.moment
    ballot = case.point.ballots.get(case.recipient.coordinate)
    if ballot is None or assignment.identity not in ballot.identities:
        message = Reason.STEP_CHANGED.tell(attempt=attempt, step=case.point.step)
        return Abandonment(Reason.STEP_CHANGED, message)
    donor = current_donor(moment, heal, assignment)
    if (failed := _failure(moment, heal, attempt)) is not None:
        what = failed.message or failed.reason or "the recipient does not say why"
        message = Reason.TRANSFER_FAILED.tell(attempt=attempt, what=what)
        if failed.reason == Reason.NO_CERTIFICATE:
            return Abandonment(Reason.NOT_CERTIFIED, message)
        return Abandonment(Reason.TRANSFER_FAILED, message, (donor,))
    if donor not in moment.holding:
        return Abandonment(Reason.DONOR_LOST, Reason.DONOR_LOST.tell(attempt=attempt), (donor,))
    if moment.now >= due(moment, heal):
        message = Reason.TRANSFER_OVERDUE.tell(attempt=attempt, deadline=assignment.deadline)
        return Abandonment(Reason.TRANSFER_OVERDUE, message, (donor,))
    return None


def _failure(moment: Moment, heal: HealRecord, attempt: int) -> TransferFacts | None:
    """What the recipient says of this very attempt, where it went wrong."""
    heard = moment.heard.get(heal.pod_uid)
    transfer = heard.report.transfer if heard else None
    if transfer is None or (transfer.heal, transfer.attempt, transfer.state) != (heal.name, attempt, "failed"):
        return None
    return transfer


def plan_assignment(case: Case, heal: HealRecord, abandoned: Abandonment | None) -> Assign | Wait:
    """Assign the best donors; wait where there are none now, until the first one has rested."""
    failed = (heal.failed + (abandoned.failed if abandoned else ()))[-KEPT_FAILURES:]
    blamed = heal.but(failed=failed)
    choice = choose_donors(Case(case.moment, case.point, case.recipient, blamed, assigns=True))
    recipient = case.moment.places[case.recipient].peer
    donors = _of_the_same_bytes(choice.eligible)[:DONORS]
    channel = crossing(case.moment.view.policy, case.moment.places[case.recipient].report, _reports(donors))
    if channel.channel == "tls" and (uncertified := _uncertified(case, heal, abandoned)) is not None:
        return uncertified
    if not donors or recipient is None or _is_asking(case.moment, choice):
        return _wait_for_donors(case.moment, blamed, choice)
    reason, message = _why(case, abandoned, channel)
    return Assign(
        heal=heal.name,
        assignment=_assignment(case, heal, recipient, donors).but(channel=channel.channel),
        failed=failed,
        refusals=choice.refusals,
        reason=reason,
        message=message,
    )


def _why(case: Case, abandoned: Abandonment | None, channel: Crossing) -> tuple[Reason, str]:
    """Why there is this assignment; where another channel stands in for the policy's, that too."""
    message = Reason.STATE_MISSING.tell(member=case.recipient, step=case.point.step)
    reason = Reason.CHANNEL_VERSION_DIFFERS if channel.why else Reason.STATE_MISSING
    if abandoned is not None:
        reason, message = abandoned.reason, abandoned.message
    return reason, f"{message}; {channel.why}" if channel.why else message


def _is_asking(moment: Moment, choice: DonorChoice) -> bool:
    """An answer takes milliseconds, and an attempt that a dead donor fails takes seconds."""
    return any(passed_over_at(moment, uid) > moment.now for uid in choice.asked)


def _wait_for_donors(moment: Moment, heal: HealRecord, choice: DonorChoice) -> Wait:
    ends = [rested_at(moment, heal, uid) for uid in heal.failed]
    ends += [passed_over_at(moment, uid) for uid in choice.asked]
    until = min((at for at in ends if at > moment.now), default=None)
    asks = tuple((uid, question(heal)) for uid in choice.asked)
    if asks:
        message = next(each.message for each in choice.refusals if each.reason == Reason.NOT_PROBED)
        return Wait(until=until, reason=Reason.NOT_PROBED, message=message, asks=asks)
    return Wait(until=until, reason=Reason.DONORS_BUSY, message=Reason.DONORS_BUSY.tell(member=heal.recipient))


def _uncertified(case: Case, heal: HealRecord, abandoned: Abandonment | None) -> Wait | None:
    """A recipient that cannot show who it is yet. Its own lack says nothing against a donor, and uses up no attempt."""
    policy, report = case.moment.view.policy, case.moment.places[case.recipient].report
    if report is None:
        return None
    says_so = lacks_certificate(report)
    failed_by_it = abandoned is not None and abandoned.reason == Reason.NOT_CERTIFIED
    until = (heal.assigned_at or 0.0) + policy.retry_pause if failed_by_it else float("-inf")
    if not says_so and case.moment.now >= until:
        return None
    reason = Reason.NOT_CERTIFIED
    return Wait(until=None if says_so else until, reason=reason, message=reason.tell(member=case.recipient))


def _of_the_same_bytes(eligible: Sequence[Holder]) -> Sequence[Holder]:
    """Only such stand behind the first: a take-over resumes, it does not start again."""
    return [each for each in eligible if each.generation.state_digest == eligible[0].generation.state_digest]


def _reports(donors: Sequence[Holder]) -> Iterator[AgentReport | None]:
    return (each.place.report for each in donors)


def _assignment(case: Case, heal: HealRecord, recipient: Peer, donors: Sequence[Holder]) -> Assignment:
    chosen, policy = donors[0].generation, case.moment.view.policy
    return Assignment(
        heal=heal.name,
        attempt=next_attempt(case.moment),
        recipient=recipient,
        donors=tuple(peer for peer in (each.place.peer for each in donors) if peer),
        step=chosen.step,
        schema_digest=chosen.schema_digest,
        state_digest=chosen.state_digest or "",
        deadline=policy.patience(chosen.bytes),
        bytes_per_second=policy.bytes_per_second,
    )
