"""How does a drill stand in a `CheckpointHeal`, and how is it read back?

Nothing is lost on the way: a new leader goes on with what stands there. Must not know when it is written.
"""

from checkpointheal.contract.layout import Identity
from checkpointheal.contract.report import DrillFacts
from checkpointheal_operator.api import job_status as api
from checkpointheal_operator.api.base import CHANNELS, Metadata, channel_said
from checkpointheal_operator.core.annotations import DRILL
from checkpointheal_operator.core.drill_record import DrillPlan, DrillRecord, DrillSide

LONGEST = 253
"""Characters of a request that count."""


def asked(metadata: Metadata) -> str:
    """The latest request."""
    return metadata.annotations.get(DRILL, "")[:LONGEST]


def drill_status(record: DrillRecord | None) -> api.DrillStatus | None:
    """As it is written."""
    if record is None:
        return None
    known = dict(record) | {"plan": _plan_spec(record.plan), "transfer": _transfer(record.transfer)}
    return api.DrillStatus(**known)


def drill_record(status: api.DrillStatus | None) -> DrillRecord | None:
    """As the core knows it."""
    if status is None:
        return None
    known = dict(status) | {"plan": _plan(status.plan), "transfer": _facts(status)}
    return DrillRecord(**known)


def _plan_spec(plan: DrillPlan | None) -> api.DrillPlan | None:
    if plan is None:
        return None
    return api.DrillPlan(
        recipient=api.DrillSide(**dict(plan.recipient)),
        donor=api.DrillSide(**dict(plan.donor)),
        channel=channel_said(plan.channel),
        deadline_seconds=plan.deadline,
        **dict(plan.identity),
    )


def _plan(spec: api.DrillPlan | None) -> DrillPlan | None:
    if spec is None:
        return None
    return DrillPlan(
        recipient=DrillSide(**dict(spec.recipient)),
        donor=DrillSide(**dict(spec.donor)),
        identity=Identity(step=spec.step, schema_digest=spec.schema_digest, state_digest=spec.state_digest),
        channel=CHANNELS[spec.channel],
        deadline=spec.deadline_seconds,
    )


def _transfer(facts: DrillFacts | None) -> api.DrillTransfer | None:
    return None if facts is None else api.DrillTransfer(**dict(facts))


def _facts(status: api.DrillStatus) -> DrillFacts | None:
    if status.transfer is None or status.plan is None:
        return None
    return DrillFacts(heal=status.name, attempt=1, donor=status.plan.donor.pod, **dict(status.transfer))
