"""How does an epoch stand in a `CheckpointHeal`, and how is it read back?

Nothing is lost on the way: the operator remembers what stands there and no more. Must not know when it is written.
"""

from typing import Any

from checkpointheal.contract.layout import Identity
from checkpointheal_operator.api.job_status import Absent, CheckpointHealStatus, Enrolled, EpochStatus, Witness
from checkpointheal_operator.core.epoch_record import EpochMember, EpochRecord, LeftOut
from checkpointheal_operator.core.heal_record import Remembered

SAME = EpochRecord.model_fields.keys() - {"members", "left_out"}
"""What stands there as the core knows it."""


def epoch_status(record: EpochRecord, before: EpochStatus | None = None) -> EpochStatus:
    """As it is written. Why it began is kept from `before` once the reason is that of its end."""
    began = (record.reason, record.message)
    if not record.open or record.leaving:
        same = before is not None and before.number == record.number
        began = (before.begin_reason, before.begin_message) if before and same else ("", "")
    return EpochStatus(
        **_as_it_is(record),
        begin_reason=began[0],
        begin_message=began[1],
        members=tuple(Enrolled(**dict(each)) for each in record.members),
        left_out=tuple(Absent(**dict(each)) for each in record.left_out),
    )


def epoch_record(status: CheckpointHealStatus) -> EpochRecord:
    """As the core knows it; of an object that was never written, number 0."""
    epoch = status.epoch
    if epoch is None:
        return EpochRecord()
    return EpochRecord(
        **_as_it_is(epoch),
        members=tuple(EpochMember(**dict(each)) for each in epoch.members),
        left_out=tuple(LeftOut(**dict(each)) for each in epoch.left_out),
    )


def _as_it_is(epoch: EpochRecord | EpochStatus) -> dict[str, Any]:
    return {name: getattr(epoch, name) for name in SAME}


def witness(last: Remembered) -> Witness:
    """As it is written."""
    known = {"member": last.member, "pod_uid": last.pod_uid, "build": last.build, "alike": last.alike}
    return Witness(**known, **dict(last.identity))


def remembered(seen: Witness) -> Remembered:
    """As the core knows it."""
    identity = Identity(step=seen.step, schema_digest=seen.schema_digest, state_digest=seen.state_digest)
    known = {"member": seen.member, "pod_uid": seen.pod_uid, "build": seen.build, "alike": seen.alike}
    return Remembered(**known, identity=identity)
