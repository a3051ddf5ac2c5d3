"""What is written down about a job's latest epoch: who is in it, whom it began without, how it began and ended?

Times are seconds on the clock of whoever decided. Must not know how the next one is made.
"""

from typing import Annotated

from pydantic import Field

from checkpointheal.contract.base import Count, Epoch, Frozen, Step
from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.reasons import Reason, Rung

Trial = Annotated[int, Field(ge=0, le=2)]


class EpochMember(Frozen):
    """Who was in an epoch: not the place alone, but this life of it."""

    member: MemberId
    pod_uid: str
    agent: str
    incarnation: str
    request: Count
    rung: Rung
    private_from: tuple[str, ...] = Field(
        default=(), description="Pod UIDs of the buddies that hold its private part, where its own arena does not."
    )
    private_begins: bool = Field(
        default=False, description="It never had a private part: its own began with the epoch."
    )
    private_step: Step | None = Field(
        default=None, description="The earlier step that its private part is of; None: of the epoch's own."
    )
    missed_since: Epoch = Field(
        default=0, description="The first epoch that had gone on without it when it was taken in; 0: it missed none."
    )
    revision: str = Field(default="", description="Of the template that its pod was made from.")
    trial: Trial = Field(
        default=0, description="0: not on probation. 1: its first since it was healed. 2: its last, with peers' bytes."
    )


class LeftOut(Frozen):
    """Who is not in an epoch though it has a place, and from where on the job has a past that it took no part in."""

    member: MemberId
    since: Step = Field(description="The step from which the others went on.")
    epoch: Epoch = Field(description="The first epoch that began without it.")

    def saw(self, step: int) -> bool:
        """Whether it was there when the job came to that step; later ones are of a past that it took no part in."""
        return step <= self.since


class EpochRecord(Frozen):
    """The latest membership. Number 0: there was none yet."""

    number: Epoch = 0
    open: bool = False
    began_at: float | None = None
    ended_at: float | None = None
    step: Step | None = Field(default=None, description="Restore step that it began with; None: checkpoint or fresh.")
    highest: Step | None = Field(default=None, description="Highest step that any member had reached before it.")
    rung: Rung | None = Field(
        default=None, description="The lowest rung among its members; None: the records do not say how it began."
    )
    reason: str = ""
    message: str = ""
    members: tuple[EpochMember, ...] = ()
    left_out: tuple[LeftOut, ...] = Field(default=(), description="Whom it began without.")
    leaving: bool = Field(
        default=False, description="Its members are to leave it at their next commit: who was left out is back."
    )
    lost: tuple[MemberId, ...] = Field(default=(), description="Whose loss ended it.")
    sound: Step | None = Field(
        default=None,
        description="Where a probation failed: the last step that peers agreed on. Later ones came of wrong memory.",
    )
    restarts: tuple[str, ...] = Field(
        default=(), description="Incarnations of trainers to be killed: they stand still, or do not end."
    )
    alike: tuple[int, ...] = Field(
        default=(), description="Coordinates, in order, of which two members were alike in it: other bytes are damage."
    )
    apart: tuple[int, ...] = Field(
        default=(), description="Coordinates, in order, of which members differ, and no two were alike."
    )

    @property
    def is_anew(self) -> bool:
        """Nothing of it is known but its number: another run has begun, and none of its epochs yet."""
        return not self.open and self.reason == Reason.NEW_RUN

    @property
    def behind(self) -> dict[MemberId, int]:
        """Members that began with an earlier private part, and the step that it is of."""
        return {each.member: each.private_step for each in self.members if each.private_step is not None}

    def member(self, member: MemberId) -> EpochMember | None:
        """Who held that place, if anybody."""
        return next((each for each in self.members if each.member == member), None)

    def absence(self, member: MemberId) -> LeftOut | None:
        """Since when it was without that member; None where it was not."""
        return next((each for each in self.left_out if each.member == member), None)
