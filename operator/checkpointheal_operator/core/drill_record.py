"""What is written down about the latest rehearsal of a heal?

Times are seconds on the clock of whoever decided. Must not know when the next one is due.
"""

from typing import Literal

from pydantic import Field

from checkpointheal.contract.base import Count, Frozen, Seconds
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.report import DrillFacts


class DrillSide(Frozen):
    """Who receives in a drill, or gives: this life of a pod."""

    member: MemberId
    pod: str
    pod_uid: str


class DrillPlan(Frozen):
    """Who is given what by whom in a drill, and how."""

    recipient: DrillSide
    donor: DrillSide
    identity: Identity = Field(description="The newest state that the donor was known to hold.")
    channel: Literal["tls", "gloo"]
    deadline: Seconds


class DrillRecord(Frozen):
    """The latest drill: under way, over, or refused before it began."""

    name: str
    request: str = Field(
        default="", description="The latest request that was taken up, by this drill or an earlier one."
    )
    turn: Count = Field(default=0, description="Which pair the next drill tries first.")
    plan: DrillPlan | None = Field(default=None, description="None: it was refused.")
    began_at: float
    ended_at: float | None = None
    passed: bool = False
    reason: str
    message: str
    transfer: DrillFacts | None = Field(default=None, description="How the bytes crossed, once it is over.")

    @property
    def is_open(self) -> bool:
        """Whether it is under way."""
        return self.ended_at is None
