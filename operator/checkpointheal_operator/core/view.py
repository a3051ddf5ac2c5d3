"""Everything that is known of one job at one moment, and everything that was written down about it.

Facts (pods, reports) come from `gather`; records (epoch, heals) are what earlier decisions left. Times are seconds on
one clock of the caller's choice. Nothing here draws a conclusion.
"""

from typing import Annotated, Literal

from pydantic import Field

from checkpointheal.contract.base import Count, Epoch, Frozen, Seconds, Step
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.orders import Assignment
from checkpointheal.contract.report import AgentReport, DrillFacts, TransferFacts
from checkpointheal.contract.seats import Seats, seat_name, seat_uid
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.reasons import Cause, Reason, Rung


class Trouble(Frozen):
    """Why no agent is at work in a pod, and what helps. `pod_trouble.trouble` finds it."""

    reason: Reason
    message: str


class PodFacts(Frozen):
    """A pod that claims a place."""

    member: MemberId
    name: str
    uid: str
    node: str = ""
    zone: str = ""
    terminating: bool = Field(default=False, description="Its deletion has begun.")
    ends_at: float | None = Field(default=None, description="When its deletion should be over; None: nobody said.")
    finished: bool = Field(default=False, description="It ran to its end in success; its agent is silent for good.")
    seen_since: float = Field(description="When it was created or, where that is unknown, first seen.")
    revision: str = Field(default="", description="Of the template that it was made from; empty where none is told.")
    holds_back: bool = Field(default=False, description="A StatefulSet's, not Ready: those after it may wait for it.")
    trouble: Trouble | None = Field(default=None, description="What keeps its agent from its work, by its object.")
    trainer_ails: str = Field(default="", description="What its kubelet says of a trainer that does not come up.")

    @property
    def is_at_work(self) -> bool:
        """Neither at its end nor on its way out."""
        return not self.finished and not self.terminating

    def seated(self, seats: Seats) -> tuple["PodFacts", ...]:
        """This pod by its seats: member, name and uid are each seat's own, all else is their pod's."""
        own = (
            {"member": member, "name": seat_name(self.name, at, seats.count), "uid": seat_uid(self.uid, at)}
            for at, member in enumerate(seats.members)
        )
        return tuple(self.model_copy(update=each) for each in own)


class Stranger(Frozen):
    """A seat that the policy selects too, of another job than the one that it looks after."""

    pod: PodFacts
    job: str
    ours: str = Field(description="The job that is looked after.")


class Heard(Frozen):
    """The latest report of a pod's agent to this leader. `hearing.hear` makes it."""

    report: AgentReport
    at: float = Field(description="When it came.")
    agent_since: float = Field(description="When this start of the agent was first heard.")
    trainer_since: float = Field(description="When the trainer was first heard to be as it is.")


class Remembered(Frozen):
    """What a lost pod last held: it may decide a vote, never give bytes."""

    member: MemberId
    pod_uid: str
    build: str = ""
    identity: Identity


class Refusal(Frozen):
    """Why a candidate is not the donor."""

    member: MemberId
    pod: str | None = Field(default=None, description="None: no pod holds the place.")
    reason: Reason
    message: str


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
