"""Everything that is known of one job at one moment, and everything that was written down about it.

Facts (pods, reports) come from `gather`; records (epoch, heals) are what earlier decisions left. Times are seconds on
one clock of the caller's choice. Nothing here draws a conclusion.
"""

from pydantic import Field

from checkpointheal.contract.base import Frozen
from checkpointheal_operator.core.drill_record import DrillRecord
from checkpointheal_operator.core.epoch_record import EpochRecord
from checkpointheal_operator.core.facts import Heard, PodFacts, Stranger
from checkpointheal_operator.core.heal_record import HealRecord, Remembered
from checkpointheal_operator.core.policy import Policy


class JobView(Frozen):
    """All facts and records of one job at one moment. The order of its tuples means nothing."""

    job: str
    known_as: str = Field(default="", description="Its name when that was last told; empty: it never was.")
    policy: Policy
    leader_since: float = Field(description="Since when the operator that asks has led.")
    pods: tuple[PodFacts, ...] = ()
    strangers: tuple[Stranger, ...] = Field(default=(), description="While a pod of the job itself is at work.")
    heard: tuple[Heard, ...] = Field(default=(), description="At most one per pod; pods that are gone included.")
    epoch: EpochRecord = EpochRecord()
    heals: tuple[HealRecord, ...] = Field(default=(), description="Open ones, and a history of concluded ones.")
    remembered: tuple[Remembered, ...] = ()
    was_done: bool = Field(default=False, description="Every member was done when that was last told.")
    drill: DrillRecord | None = Field(default=None, description="The latest one; None: there was none yet.")
    drill_asked: str = Field(default="", description="The latest request for a drill, taken up or not.")
