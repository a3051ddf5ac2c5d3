"""The `CheckpointHeal` object: policy in, what became of it out. Must not know how a heal goes."""

from pydantic import Field

from checkpointheal_operator.api.base import Metadata, Part
from checkpointheal_operator.api.job_status import CheckpointHealStatus
from checkpointheal_operator.api.spec import CheckpointHealSpec


class CheckpointHeal(Part):
    """The policy under which the pods of one training job heal each other."""

    metadata: Metadata
    spec: CheckpointHealSpec = Field(description="What the user wants.")
    status: CheckpointHealStatus = Field(default=CheckpointHealStatus(), description="What became of it.")
