"""What is one recovery? The `Heal` object: who asked and why, who gives, how it went.

`spec` says what was decided: its first part never changes, `assignment` only with a growing attempt. `status` says what
came of it. There is no phase: conditions tell. Must not know who reads it or when it is written.
"""

from typing import Annotated, Literal

from pydantic import Field

from checkpointheal_operator.api.base import (
    Channel,
    Condition,
    Length,
    Member,
    Metadata,
    MicroTime,
    Name,
    Part,
    Sentence,
    Uid,
    Whole,
    Word,
)
from checkpointheal_operator.api.rules import by_key, rules
from checkpointheal_operator.core.reasons import Cause, Rung

TOLD_CANDIDATES = 32
"""More refusals than these are counted by reason: an object must stay small."""


class Recipient(Part):
    """Who asked: this start of this agent in this pod, for this start of its trainer."""

    member: Member = Field(description="Its place, as replica/rank.")
    pod: Name = Field(default="", description="Name of its pod.")
    pod_uid: Uid = Field(alias="podUID", description="Its pod.")
    agent: Uid = Field(description="Which start of its agent asked.")
    request: Whole = Field(description="Number of the agent's request.")
    incarnation: Uid = Field(description="Which start of its trainer waits.")


class Address(Part):
    """An agent, and where its door is."""

    member: Member = Field(description="Its place, as replica/rank.")
    pod: Name = Field(description="Name of its pod.")
    pod_uid: Uid = Field(alias="podUID", description="Its pod.")
    host: Name = Field(description="Where its agent listens.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(description="The port that its agent listens on.")


class Candidate(Part):
    """Somebody who is not the donor, and why."""

    member: Member = Field(description="Its place, as replica/rank.")
    pod: Name | None = Field(default=None, description="Its pod. Absent: no pod holds the place.")
    reason: Word = Field(description="Why not, in one word.")
    message: Sentence = Field(description="Why not, in a sentence.")


class AssignmentSpec(Part):
    """Which state the recipient receives, and from whom."""

    model_config = Part.model_config | {
        "json_schema_extra": rules(
            (
                "self == oldSelf || self.attempt > oldSelf.attempt",
                "an assignment changes only with a higher attempt: agents ignore a lower one",
            )
        )
    }

    attempt: Annotated[int, Field(ge=1)] = Field(description="Fencing number: lower ones are ignored by everyone.")
    step: Whole = Field(description="The step whose state crosses.")
    schema_digest: Word = Field(description="What that state looks like.")
    state_digest: Word = Field(description="What its bytes are.")
    deadline_seconds: Length = Field(description="Seconds from its receipt until both sides let go.")
    bytes_per_second: Whole | None = Field(default=None, description="Cap on what the donor sends.")
    channel: Channel = Field(default="Gloo", description="How the bytes cross. Absent: an older operator assigned.")
    to: Address = Field(description="Where the recipient's agent was when it was assigned.")
    donors: tuple[Address, ...] = Field(
        min_length=1,
        max_length=1024,
        description="The chosen one first, then who takes over if it dies: 8 are named at most.",
    )
    assigned_at: MicroTime = Field(description="When it was decided.")
    tries: Annotated[int, Field(ge=1)] = Field(description="How many assignments there were, this one included.")
    failed: tuple[Uid, ...] = Field(
        default=(), max_length=1024, description="Pod UIDs of donors that failed this heal, in order."
    )
    reason: Word = Field(description="Why there is this assignment, in one word.")
    message: Sentence = Field(description="Why there is this assignment, in a sentence.")
    candidates: tuple[Candidate, ...] = Field(
        default=(), max_length=TOLD_CANDIDATES, description="Who else was considered then, and why not."
    )
    more_candidates: dict[str, int] = Field(
        default={}, max_length=64, description="How many more were refused then, by reason."
    )


class HealSpec(Part):
    """What was decided."""

    model_config = Part.model_config | {
        "json_schema_extra": rules(
            ("has(self.crashStep) == has(oldSelf.crashStep)", "crashStep is immutable"),
            ("!has(oldSelf.assignment) || has(self.assignment)", "an assignment is replaced, never taken back"),
        )
    }

    recipient: Recipient = Field(description="Who asked.", json_schema_extra=rules(("self == oldSelf", "is immutable")))
    cause: Cause = Field(
        description="Why it needs a state.", json_schema_extra=rules(("self == oldSelf", "is immutable"))
    )
    epoch: Whole = Field(
        description="The latest epoch when it was opened.", json_schema_extra=rules(("self == oldSelf", "is immutable"))
    )
    crash_step: Whole | None = Field(
        default=None,
        description="Its highest sealed step when it came back crashed.",
        json_schema_extra=rules(("self == oldSelf", "is immutable")),
    )
    noticed_at: MicroTime = Field(
        description="When its epoch was found over.", json_schema_extra=rules(("self == oldSelf", "is immutable"))
    )
    opened_at: MicroTime = Field(
        description="When it was opened.", json_schema_extra=rules(("self == oldSelf", "is immutable"))
    )
    attempts_before: Whole = Field(
        default=0,
        description="Its highest attempt before it was opened again.",
        json_schema_extra=rules(("self == oldSelf", "is immutable")),
    )
    message: Sentence = Field(
        default="",
        description="Why it was opened, in a sentence.",
        json_schema_extra=rules(("self == oldSelf", "is immutable")),
    )
    assignment: AssignmentSpec | None = Field(default=None, description="Who gives what. Absent until somebody can.")


class Transfer(Part):
    """How the bytes crossed, as the recipient's agent said."""

    attempt: Annotated[int, Field(ge=1)] = Field(description="The attempt that this is about.")
    state: Literal["asking", "receiving", "verified", "failed"] = Field(description="How far it got.")
    donor: Name | None = Field(default=None, description="Pod name of the donor that it talked to.")
    bytes: Whole = Field(default=0, description="Bytes that crossed.")
    total: Whole = Field(default=0, description="Bytes of the whole state.")
    reason: Word = Field(default="", description="What went wrong, in one word.")
    message: Sentence = Field(default="", description="What went wrong, in a sentence.")
    hold_seconds: Length = Field(default=0, description="From asking the donor to its offer.")
    transfer_seconds: Length = Field(default=0, description="From the offer to the last byte.")
    verify_seconds: Length = Field(default=0, description="From the last byte to the verdict.")


class HealStatus(Part):
    """What came of it. Written by the operator alone, as a rule once, at the end."""

    observed_generation: Whole | None = Field(default=None, description="Generation of the spec that this is about.")
    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        description="DonorAssigned, Transferred, Verified and Healed.",
        json_schema_extra=by_key("type"),
    )
    candidates: tuple[Candidate, ...] = Field(
        default=(), max_length=TOLD_CANDIDATES, description="Who else was considered, and why not."
    )
    more_candidates: dict[str, int] = Field(
        default={}, max_length=64, description="How many more were refused, by reason."
    )
    epoch: Whole | None = Field(default=None, description="The epoch that it was healed for.")
    rung: Rung | None = Field(default=None, description="Where its state came from.")
    step: Whole | None = Field(default=None, description="The step that it goes on from. Absent: checkpoint or fresh.")
    private_step: Whole | None = Field(
        default=None, description="The earlier step that its private part is of. Absent: of the same step."
    )
    begun_at: MicroTime | None = Field(default=None, description="When that epoch began.")
    told_at: MicroTime | None = Field(default=None, description="When this was written.")
    concluded_at: MicroTime | None = Field(default=None, description="When its end was seen. Absent: it is open.")
    duration: Word | None = Field(default=None, description="From the end of the old epoch to the verdict.")
    transfer: Transfer | None = Field(default=None, description="How the bytes crossed.")
    applied_seconds: Length | None = Field(default=None, description="How long the trainer took to load its state.")


class Heal(Part):
    """One recovery of one member, from its request to its verdict."""

    metadata: Metadata
    spec: HealSpec = Field(description="What was decided.")
    status: HealStatus = Field(default=HealStatus(), description="What came of it.")
