"""What became of a job: who is in its epoch, what lost pods last held, how its latest drill went.

Written by the operator alone. Must not know what the user wants.
"""

from typing import Annotated, Literal

from pydantic import Field

from checkpointheal_operator.api.base import (
    Channel,
    Condition,
    Length,
    Member,
    MicroTime,
    Name,
    Part,
    Sentence,
    Uid,
    Whole,
    Word,
)
from checkpointheal_operator.api.rules import by_key, rules
from checkpointheal_operator.core.policy import MOST_MEMBERS
from checkpointheal_operator.core.reasons import Rung

KEPT = 2 * MOST_MEMBERS
"""Members at most, twice as many as a job may have: more would not fit into what keeps the object."""


class Enrolled(Part):
    """Who was in an epoch: this life of a member."""

    member: Member = Field(description="Its place, as replica/rank.")
    pod_uid: Uid = Field(alias="podUID", description="Its pod.")
    agent: Uid = Field(description="Which start of its agent.")
    incarnation: Uid = Field(description="Which start of its trainer.")
    request: Whole = Field(description="Number of the request that the epoch answers.")
    rung: Rung = Field(description="Where its state came from.")
    private_from: tuple[Uid, ...] = Field(
        default=(), max_length=64, description="Pod UIDs of the members that hold its private part."
    )
    private_begins: bool = Field(
        default=False, description="It never had a private part: its random streams and data position began with it."
    )
    private_step: Whole | None = Field(
        default=None, description="The earlier step that its private part was of. Absent: of the epoch's own."
    )
    missed_since: Whole = Field(
        default=0, description="The first epoch that had gone on without it when it was taken in; 0: it missed none."
    )
    revision: Annotated[str, Field(max_length=63)] = Field(
        default="", description="Revision of the template that its pod was made from."
    )
    trial: Annotated[int, Field(ge=0, le=2)] = Field(
        default=0,
        description="Which probation it is on: its first since it was healed, or its last; 0: it was not healed.",
    )


class Absent(Part):
    """Who has a place in the job and is not in an epoch."""

    member: Member = Field(description="Its place, as replica/rank.")
    since: Whole = Field(description="The step from which the others went on.")
    epoch: Whole = Field(description="The first epoch that began without it.")


class EpochStatus(Part):
    """The latest membership. The operator's memory: agents are ordered what stands here."""

    model_config = Part.model_config | {
        "json_schema_extra": rules(("self.number >= oldSelf.number", "the number of an epoch never falls"))
    }

    number: Whole = Field(default=0, description="Grows with each epoch; 0 before the first.")
    open: bool = Field(default=False, description="Whether it still stands.")
    began_at: MicroTime | None = Field(default=None, description="When it began.")
    ended_at: MicroTime | None = Field(default=None, description="When it was found over.")
    step: Whole | None = Field(default=None, description="The step that it began with. Absent: checkpoint or fresh.")
    highest: Whole | None = Field(default=None, description="Highest step that any member had reached before it.")
    rung: Rung | None = Field(default=None, description="The lowest rung among its members.")
    reason: Word = Field(default="", description="Why it is as it is, in one word.")
    message: Sentence = Field(default="", description="Why it is as it is, in a sentence.")
    begin_reason: Word = Field(default="", description="Why it began, in one word.")
    begin_message: Sentence = Field(default="", description="Why it began, in a sentence.")
    members: tuple[Enrolled, ...] = Field(
        default=(), max_length=KEPT, description="Who was in it.", json_schema_extra=by_key("member")
    )
    left_out: tuple[Absent, ...] = Field(
        default=(), max_length=KEPT, description="Whom it began without.", json_schema_extra=by_key("member")
    )
    leaving: bool = Field(
        default=False, description="Its members are to leave it at their next commit: who was left out is back."
    )
    lost: tuple[Member, ...] = Field(default=(), max_length=KEPT, description="Whose loss ended it.")
    sound: Whole | None = Field(
        default=None, description="Where a probation ended it: the last step before. Later ones are not restored."
    )
    restarts: tuple[Uid, ...] = Field(
        default=(), max_length=KEPT, description="Incarnations of trainers that stand still and are restarted."
    )
    alike: tuple[Whole, ...] = Field(
        default=(),
        max_length=KEPT,
        description="Coordinates of which two members held the same bytes in it: other ones are damage from then on.",
    )
    apart: tuple[Whole, ...] = Field(
        default=(),
        max_length=KEPT,
        description="Coordinates whose members differ, and of which no two ever held the same bytes in it.",
    )


class Witness(Part):
    """What a lost pod last held. It may decide a vote, never give bytes."""

    member: Member = Field(description="The place that it held.")
    pod_uid: Uid = Field(alias="podUID", description="The pod that is gone.")
    build: Annotated[str, Field(max_length=256)] = Field(default="", description="Its torch and CPU build.")
    step: Whole = Field(description="Its last digested step.")
    schema_digest: Word = Field(description="What its state looked like.")
    state_digest: Word = Field(description="What its bytes were.")
    alike: bool | None = Field(
        default=None,
        description="Whether it ever held the bytes of another. False: only different ones. Absent: not known.",
    )


class DrillSide(Part):
    """Who received in a drill, or gave."""

    member: Member = Field(description="Its place, as replica/rank.")
    pod: Name = Field(description="Its pod.")
    pod_uid: Uid = Field(alias="podUID", description="This life of the pod.")


class DrillPlan(Part):
    """Who is given what by whom."""

    recipient: DrillSide = Field(description="Who receives, and keeps nothing.")
    donor: DrillSide = Field(description="Who gives.")
    step: Whole = Field(description="Step of the newest state that the donor was known to hold.")
    schema_digest: Word = Field(description="What that state looks like.")
    state_digest: Word = Field(description="What its bytes are.")
    channel: Channel = Field(description="How the bytes cross.")
    deadline_seconds: Length = Field(description="Seconds until both sides let go.")


class DrillTransfer(Part):
    """How the bytes crossed, as the recipient's agent said."""

    state: Literal["asking", "receiving", "verified", "failed"] = Field(description="How far it got.")
    step: Whole | None = Field(default=None, description="Step of the state that arrived: training goes on meanwhile.")
    state_digest: Word | None = Field(default=None, description="What its bytes were.")
    bytes: Whole = Field(default=0, description="Bytes that crossed.")
    total: Whole = Field(default=0, description="Bytes of the whole state.")
    hold_seconds: Length = Field(default=0, description="From asking the donor to its offer.")
    transfer_seconds: Length = Field(default=0, description="From the offer to the last byte.")
    verify_seconds: Length = Field(default=0, description="From the last byte to the verdict.")


class DrillStatus(Part):
    """The latest drill: under way, over, or refused before it began. Without an end it is under way."""

    name: Name = Field(description="Its name, as logs say it.")
    request: Name = Field(default="", description="The latest value of the annotation that was taken up.")
    turn: Whole = Field(default=0, description="Which pair the next one tries first.")
    plan: DrillPlan | None = Field(default=None, description="Who is given what by whom. Absent: it was refused.")
    began_at: MicroTime = Field(description="When it began.")
    ended_at: MicroTime | None = Field(default=None, description="When its end was seen.")
    passed: bool = Field(default=False, description="Whether a heal would have worked.")
    reason: Word = Field(description="Why it is as it is, in one word.")
    message: Sentence = Field(description="Why it is as it is, in a sentence.")
    transfer: DrillTransfer | None = Field(default=None, description="How the bytes crossed.")


class CheckpointHealStatus(Part):
    """What became of it. Written by the operator alone."""

    observed_generation: Whole | None = Field(default=None, description="Generation of the spec that this is about.")
    conditions: tuple[Condition, ...] = Field(
        default=(), max_length=16, description="What is so of the job.", json_schema_extra=by_key("type")
    )
    job: Name = Field(
        default="",
        description="The job whose pods heal each other. Pods of another one that are selected are left alone.",
    )
    epoch: EpochStatus | None = Field(default=None, description="The latest membership.")
    remembered: tuple[Witness, ...] = Field(
        default=(), max_length=KEPT, description="What lost pods last held.", json_schema_extra=by_key("member")
    )
    drill: DrillStatus | None = Field(default=None, description="The latest drill.")
    told_at: MicroTime | None = Field(default=None, description="When this was written.")
