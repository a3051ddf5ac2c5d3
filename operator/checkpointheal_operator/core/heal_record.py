"""What is written down about one heal, and about the memory of those who are lost?

Times are seconds on the clock of whoever decided. Must not know how a donor is chosen.
"""

from pydantic import Field

from checkpointheal.contract.base import Count, Epoch, Frozen, Seconds, Step
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.orders import Assignment
from checkpointheal.contract.report import TransferFacts
from checkpointheal_operator.core.reasons import Cause, Reason, Rung


class Refusal(Frozen):
    """Why a candidate is not the donor."""

    member: MemberId
    pod: str | None = Field(default=None, description="None: no pod holds the place.")
    reason: Reason
    message: str


class Remembered(Frozen):
    """What a lost pod last held: it may decide a vote, never give bytes."""

    member: MemberId
    pod_uid: str
    build: str = ""
    identity: Identity
    alike: bool | None = Field(
        default=None, description="Whether it held a step as another did. False: only different ones. None: not known."
    )


class HealRecord(Frozen):
    """One recovery of one member, from its request to its verdict."""

    name: str
    recipient: MemberId
    pod_uid: str
    agent: str
    request: Count
    incarnation: str = Field(description="The trainer that asked.")
    cause: Cause
    crash_step: Step | None = Field(default=None, description="Its highest sealed step when it came back crashed.")
    noticed_at: float = Field(description="When its epoch was found over.")
    opened_at: float
    attempts_before: Count = Field(default=0, description="Its highest attempt before it was opened again.")
    tries: Count = Field(default=0, description="Assignments so far.")
    assignment: Assignment | None = None
    assigned_at: float | None = None
    failed: tuple[str, ...] = Field(default=(), description="Pod UIDs of donors that failed it, in order.")
    refusals: tuple[Refusal, ...] = Field(default=(), description="Of the latest choice.")
    epoch: Epoch | None = Field(default=None, description="The epoch that it was healed for.")
    rung: Rung | None = None
    begun_at: float | None = Field(default=None, description="When that epoch began.")
    concluded_at: float | None = None
    healed: bool = False
    reason: str = Field(default="", description="Of the latest decision about it.")
    message: str = ""
    transfer: TransferFacts | None = Field(default=None, description="How the bytes crossed, as last reported.")
    applied_seconds: Seconds | None = None

    @property
    def is_open(self) -> bool:
        """Whether it still waits for its verdict."""
        return self.concluded_at is None

    @property
    def highest_attempt(self) -> int:
        """That was ever made for it; 0 without any."""
        return max(self.attempts_before, self.assignment.attempt if self.assignment else 0)
