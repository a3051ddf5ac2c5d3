"""What does a user want for a job? The `CheckpointHeal` object: policy in, what became of it out.

Only the selector is required. `policy` says what the spec comes to; a
default never changes within a version. Must not know how a heal goes.
"""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.alias_generators import to_camel

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
from checkpointheal_operator.core.deadlines import FIFTHS, ORDERS, PATIENCE, Order
from checkpointheal_operator.core.reasons import Rung

Positive = Annotated[int, Field(ge=1, le=1_000_000)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]


class Expression(Part):
    """One requirement on a label."""

    key: Annotated[str, Field(max_length=317)] = Field(description="The label's name.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="How values are compared.")
    values: tuple[Annotated[str, Field(max_length=63)], ...] = Field(
        default=(), max_length=64, description="What the label may or may not be; none for Exists and DoesNotExist."
    )


class Selector(Part):
    """Which pods belong to the job. All requirements must hold."""

    model_config = Part.model_config | {
        "json_schema_extra": rules(
            (
                "size(self.matchLabels) + size(self.matchExpressions) > 0",
                "selector must name at least one label: an empty one would take every pod of the namespace",
            ),
        )
    }

    match_labels: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default={}, max_length=64, description="Labels and the values that they must have."
    )
    match_expressions: tuple[Expression, ...] = Field(
        default=(), max_length=64, description="Requirements that equality cannot say."
    )


class Layout(Part):
    """How the pods make up replicas."""

    model_config = Part.model_config | {
        "json_schema_extra": rules(
            (
                "!has(self.minReplicas) || !has(self.replicas) || self.minReplicas <= self.replicas",
                "minReplicas must not be more than replicas",
            ),
        )
    }

    replicas: Positive | None = Field(
        default=None,
        description="Complete copies of the training state. Absent: as many as pods were ever seen to hold.",
    )
    ranks: Positive | None = Field(
        default=None,
        description="Members of each replica; each holds one coordinate. It must be what the pods' annotation "
        "checkpointheal.dev/ranks says, which agents go by; absent: it is that, else 1.",
    )
    min_replicas: Positive | None = Field(
        default=None,
        description="Where a member was lost and has not come back in deadlines.goOnWithoutSeconds, so many whole "
        "replicas or more go on without its replica, and take it in at a later commit. Gradients are averaged over "
        "those present. Level 2 only. Absent: all wait.",
    )


_UNSAID = "!has(self.bytesPerSecond) || !has(self.floorBytesPerSecond)"


class Donors(Part):
    """What healing may cost those who give."""

    model_config = Part.model_config | {
        "json_schema_extra": rules(
            (
                f"{_UNSAID} || self.bytesPerSecond >= self.floorBytesPerSecond",
                "bytesPerSecond must not be less than floorBytesPerSecond: every transfer would be overdue",
            )
        )
    }

    limit: Positive = Field(default=2, description="Recipients that one donor serves at a time.")
    bytes_per_second: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Cap on what a donor sends. Absent: as fast as it goes."
    )
    floor_bytes_per_second: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="A slower transfer is overdue, and another donor takes over. Absent: 50000000, or half of "
        "bytesPerSecond where that is less.",
    )


class PrivateState(Part):
    """What belongs to one member alone: random streams, data position."""

    buddies: Annotated[int, Field(ge=0, le=16)] = Field(
        default=2, description="Other members that keep a member's private part of each step."
    )
    behind: Literal["Refuse", "Allow"] = Field(
        default="Refuse",
        description="What follows where every step that memory holds lacks a member's private part. Refuse: what "
        "spec.fallback says. Allow: that member goes on with its latest earlier one beside the newer state, which is "
        "told (PrivateStateBehind): its random streams and data position are then behind, so the run is not as if "
        "nothing had been.",
    )


def _effective(field: str) -> str:
    """In CEL: what is said, else what follows from the patience."""
    name = f"{to_camel(field)}Seconds"
    return f"(has(self.{name}) ? self.{name} : self.patienceSeconds * {FIFTHS[field]} / 5)"


def _in_order(order: Order) -> tuple[str, str]:
    longer, shorter = (f"{to_camel(each)}Seconds" for each in (order.longer, order.shorter))
    rule = f"{_effective(order.longer)} >= {_effective(order.shorter)}"
    return rule, f"{longer} must not be less than {shorter}: {order.because}"


def _times(field: str) -> str:
    return f" Absent: {FIFTHS[field] / 5:g} times patienceSeconds."


class Deadlines(Part):
    """How long is waited for whom, in seconds."""

    model_config = Part.model_config | {"json_schema_extra": rules(*map(_in_order, ORDERS))}

    patience_seconds: Annotated[int, Field(ge=4, le=2_400)] = Field(
        default=PATIENCE,
        description="How long a member in good health may be busy with something else. Each deadline that is not said "
        "follows from it.",
    )
    restore_budget_seconds: Seconds | None = Field(
        default=None,
        description="How long a trainer may take to load the answer of restore(). How long it waits for one is said to "
        "itself, by CHECKPOINTHEAL_RESTORE_BUDGET, and does not count while spec.fallback is Hold."
        + _times("restore_budget"),
    )
    report_seconds: Seconds | None = Field(
        default=None,
        description="How long a live pod's agent may take to report to a new leader." + _times("report"),
    )
    agent_silence_seconds: Seconds | None = Field(
        default=None, description="An agent that was not heard for this long is silent." + _times("agent_silence")
    )
    stopped_trainer_seconds: Seconds | None = Field(
        default=None,
        description="How long a trainer may stand still before it is restarted." + _times("stopped_trainer"),
    )
    epoch_end_seconds: Seconds | None = Field(
        default=None,
        description="How long a trainer may take to end by itself once its epoch is over." + _times("epoch_end"),
    )
    transfer_seconds: Seconds | None = Field(
        default=None, description="No deadline of a transfer is shorter." + _times("transfer")
    )
    go_on_without_seconds: Seconds | None = Field(
        default=None,
        description="How long the others wait for who was lost, where layout.minReplicas lets them go on without; "
        "never less than epochEndSeconds." + _times("go_on_without"),
    )


class Attempts(Part):
    """How often is something tried before memory is given up."""

    limit: Positive = Field(
        default=6, description="Failed attempts of a heal before the job falls back, or is held and tries on."
    )
    pause_seconds: Seconds = Field(
        default=1,
        description="How long a donor that failed a heal rests; twice as long after each further failure, 64 times at "
        "most.",
    )
    crashes_at_one_step: Positive = Field(
        default=3, description="Crashes of a member at one step that are forgiven before its memory is suspected."
    )


class Probation(Part):
    """How long is a healed member held against its peers."""

    steps: Annotated[int, Field(ge=0, le=64)] = Field(
        default=8,
        description="Its first commits whose state digest, and loss and gradient norm where the loop tells them, are "
        "compared with those of its peers. 0: none.",
    )


class Drills(Part):
    """Whether a heal is rehearsed, and how often."""

    every_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = Field(
        default=None,
        description="From the end of one drill to the begin of the next. Absent: only when the annotation "
        "checkpointheal.dev/drill asks for one.",
    )


class CheckpointHealSpec(Part):
    """What the user wants."""

    selector: Selector = Field(description="Which pods of the namespace belong to the job.")
    layout: Layout = Field(default=Layout(), description="How the pods make up replicas.")
    donors: Donors = Field(default=Donors(), description="What healing may cost those who give.")
    private_state: PrivateState = Field(default=PrivateState(), description="Care for what one member alone holds.")
    deadlines: Deadlines = Field(default=Deadlines(), description="How long is waited for whom.")
    attempts: Attempts = Field(default=Attempts(), description="How often is something tried.")
    probation: Probation = Field(default=Probation(), description="Watch over members that were healed.")
    drill: Drills = Field(
        default=Drills(),
        description="A member is given a state by another replica as for a heal, verifies it and keeps nothing: only "
        "while everyone trains, one at a time, and every pair in turn.",
    )
    fallback: Literal["Checkpoint", "Hold"] = Field(
        default="Checkpoint",
        description="What follows where neither own memory nor a peer can give the state. Checkpoint: restore() "
        "returns None in every member, and the job goes on from your checkpoint. Hold: every member waits in "
        "restore(), for as long as it takes, until memory can give it again or this says Checkpoint. A first start is "
        "neither.",
    )
    channel: Channel = Field(
        default="TLS",
        description="How states cross between agents: TLS, verified both ways, or Gloo, in clear on ports of its own.",
    )
    history_limit: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=50, description="Concluded heals that are kept. The breaker counts crashes over them."
    )


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
        default=(), max_length=16384, description="Who was in it.", json_schema_extra=by_key("member")
    )
    left_out: tuple[Absent, ...] = Field(
        default=(), max_length=16384, description="Whom it began without.", json_schema_extra=by_key("member")
    )
    leaving: bool = Field(
        default=False, description="Its members are to leave it at their next commit: who was left out is back."
    )
    lost: tuple[Member, ...] = Field(default=(), max_length=16384, description="Whose loss ended it.")
    sound: Whole | None = Field(
        default=None, description="Where a probation ended it: the last step before. Later ones are not restored."
    )
    restarts: tuple[Uid, ...] = Field(
        default=(), max_length=16384, description="Incarnations of trainers that stand still and are restarted."
    )


class Witness(Part):
    """What a lost pod last held. It may decide a vote, never give bytes."""

    member: Member = Field(description="The place that it held.")
    pod_uid: Uid = Field(alias="podUID", description="The pod that is gone.")
    build: Annotated[str, Field(max_length=256)] = Field(default="", description="Its torch and CPU build.")
    step: Whole = Field(description="Its last digested step.")
    schema_digest: Word = Field(description="What its state looked like.")
    state_digest: Word = Field(description="What its bytes were.")


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
        default=(), max_length=16384, description="What lost pods last held.", json_schema_extra=by_key("member")
    )
    drill: DrillStatus | None = Field(default=None, description="The latest drill.")


class CheckpointHeal(Part):
    """The policy under which the pods of one training job heal each other."""

    metadata: Metadata
    spec: CheckpointHealSpec = Field(description="What the user wants.")
    status: CheckpointHealStatus = Field(default=CheckpointHealStatus(), description="What became of it.")
