"""How does a heal stand in a `Heal`, and how is it read back?

An assignment is one write of `spec`, the verdict one of `status`. That an epoch began for a heal stands in the epoch,
once for all its members, and is read from there: see `with_epoch`. Must not know when anything is written.
"""

from collections import Counter

from checkpointheal.contract.identity import Endpoint
from checkpointheal.contract.orders import Assignment, Peer
from checkpointheal.contract.report import TransferFacts
from checkpointheal_operator.api.base import CHANNELS, Condition, channel_said
from checkpointheal_operator.api.heal import (
    TOLD_CANDIDATES,
    Address,
    AssignmentSpec,
    Candidate,
    Heal,
    HealSpec,
    HealStatus,
    Recipient,
    Transfer,
)
from checkpointheal_operator.api.job_status import EpochStatus
from checkpointheal_operator.core.heal_record import HealRecord, Refusal
from checkpointheal_operator.core.reasons import Reason

HEALED = "Healed"
KNOWN_REASONS = {str(each): each for each in Reason}
"""Others are a newer operator's; they are told, not read back."""


def heal_spec(record: HealRecord, pod: str, epoch: int) -> HealSpec:
    """What was decided about it: `pod` is the recipient's name, `epoch` the latest one when it was opened."""
    recipient = Recipient(
        member=record.recipient,
        pod=pod,
        pod_uid=record.pod_uid,
        agent=record.agent,
        request=record.request,
        incarnation=record.incarnation,
    )
    return HealSpec(
        recipient=recipient,
        cause=record.cause,
        epoch=epoch,
        crash_step=record.crash_step,
        noticed_at=record.noticed_at,
        attempts_before=record.attempts_before,
        opened_at=record.opened_at,
        message=record.message,
        assignment=assignment_spec(record),
    )


def assignment_spec(record: HealRecord) -> AssignmentSpec | None:
    """Its latest assignment with all that was decided about it; None before the first."""
    assigned = record.assignment
    if assigned is None or record.assigned_at is None:
        return None
    told, more = _candidates(record.refusals)
    return AssignmentSpec(
        attempt=assigned.attempt,
        step=assigned.step,
        schema_digest=assigned.schema_digest,
        state_digest=assigned.state_digest,
        deadline_seconds=assigned.deadline,
        bytes_per_second=assigned.bytes_per_second,
        channel=channel_said(assigned.channel),
        to=_address(assigned.recipient),
        donors=tuple(map(_address, assigned.donors)),
        assigned_at=record.assigned_at,
        tries=record.tries,
        failed=record.failed,
        reason=record.reason,
        message=record.message,
        candidates=told,
        more_candidates=more,
    )


def heal_status(record: HealRecord, conditions: tuple[Condition, ...]) -> HealStatus:
    """What came of it; `conditions` are those of `core.status`, which hold its reason."""
    told, more = _candidates(record.refusals)
    return HealStatus(
        conditions=conditions,
        candidates=told,
        more_candidates=more,
        epoch=record.epoch,
        rung=record.rung,
        begun_at=record.begun_at,
        concluded_at=record.concluded_at,
        duration=_duration(record),
        transfer=_transfer(record.transfer) if record.transfer else None,
        applied_seconds=record.applied_seconds,
    )


def heal_record(heal: Heal) -> HealRecord:
    """As the core knows it, as far as it stands in this object."""
    spec, status = heal.spec, heal.status
    assigned = spec.assignment
    latest = assigned or spec
    record = HealRecord(
        name=heal.metadata.name,
        recipient=spec.recipient.member,
        pod_uid=spec.recipient.pod_uid,
        agent=spec.recipient.agent,
        request=spec.recipient.request,
        incarnation=spec.recipient.incarnation,
        cause=spec.cause,
        crash_step=spec.crash_step,
        noticed_at=spec.noticed_at,
        attempts_before=spec.attempts_before,
        opened_at=spec.opened_at,
        tries=assigned.tries if assigned else 0,
        assignment=_assignment(heal.metadata.name, assigned) if assigned else None,
        assigned_at=assigned.assigned_at if assigned else None,
        failed=assigned.failed if assigned else (),
        refusals=tuple(_refusal(each) for each in _considered(heal) if each.reason in KNOWN_REASONS),
        epoch=status.epoch,
        rung=status.rung,
        begun_at=status.begun_at,
        reason=assigned.reason if assigned else spec.cause,
        message=latest.message,
    )
    return record if status.concluded_at is None else _concluded(record, heal.metadata.name, status)


def _concluded(record: HealRecord, name: str, status: HealStatus) -> HealRecord:
    verdict = next((each for each in status.conditions if each.type == HEALED), None)
    update: dict[str, object] = {
        "concluded_at": status.concluded_at,
        "transfer": _facts(name, status.transfer) if status.transfer else None,
        "applied_seconds": status.applied_seconds,
    }
    if verdict is not None:
        update |= {"healed": verdict.status == "True", "reason": verdict.reason, "message": verdict.message}
    return record.but(**update)


def with_epoch(record: HealRecord, epoch: EpochStatus | None) -> HealRecord:
    """An open heal whose very request the epoch answers was begun by it: one write tells it for all members."""
    if epoch is None or epoch.began_at is None or not record.is_open:
        return record
    asked = (record.pod_uid, record.agent, record.request)
    known = next((each for each in epoch.members if (each.pod_uid, each.agent, each.request) == asked), None)
    if known is None:
        return record
    update: dict[str, object] = {"epoch": epoch.number, "rung": known.rung, "begun_at": epoch.began_at}
    if record.assigned_at is None or record.assigned_at <= epoch.began_at:
        update |= {"reason": epoch.begin_reason, "message": epoch.begin_message}
    return record.but(**update)


def _candidates(refusals: tuple[Refusal, ...]) -> tuple[tuple[Candidate, ...], dict[str, int]]:
    told = tuple(Candidate(**dict(each)) for each in refusals[:TOLD_CANDIDATES])
    return told, dict(Counter(str(each.reason) for each in refusals[TOLD_CANDIDATES:]))


def _considered(heal: Heal) -> tuple[Candidate, ...]:
    """Those of the assignment; an older operator told them in the status alone."""
    assigned = heal.spec.assignment
    return assigned.candidates if assigned and assigned.candidates else heal.status.candidates


def _refusal(candidate: Candidate) -> Refusal:
    return Refusal(
        member=candidate.member, pod=candidate.pod, reason=KNOWN_REASONS[candidate.reason], message=candidate.message
    )


def _duration(record: HealRecord) -> str | None:
    return None if record.concluded_at is None else f"{max(0.0, record.concluded_at - record.noticed_at):.1f}s"


def _address(peer: Peer) -> Address:
    return Address(
        member=peer.member, pod=peer.pod, pod_uid=peer.pod_uid, host=peer.endpoint.host, port=peer.endpoint.port
    )


def _peer(address: Address) -> Peer:
    endpoint = Endpoint(host=address.host, port=address.port)
    return Peer(member=address.member, pod=address.pod, pod_uid=address.pod_uid, endpoint=endpoint)


def _assignment(heal: str, spec: AssignmentSpec) -> Assignment:
    return Assignment(
        heal=heal,
        attempt=spec.attempt,
        recipient=_peer(spec.to),
        donors=tuple(map(_peer, spec.donors)),
        step=spec.step,
        schema_digest=spec.schema_digest,
        state_digest=spec.state_digest,
        deadline=spec.deadline_seconds,
        bytes_per_second=spec.bytes_per_second,
        channel=CHANNELS[spec.channel],
    )


def _transfer(facts: TransferFacts) -> Transfer:
    return Transfer(**{key: value for key, value in facts if key != "heal"})


def _facts(heal: str, transfer: Transfer) -> TransferFacts:
    return TransferFacts(heal=heal, **dict(transfer))
