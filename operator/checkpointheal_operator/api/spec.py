"""What does a user want for a job?

Only the selector is required. `policy` says what it comes to; a default never changes within a version. Must not know
what became of it.
"""

from itertools import chain
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from checkpointheal.contract.base import MOST
from checkpointheal_operator.api.base import (
    Channel,
    Part,
)
from checkpointheal_operator.api.labels import NAME, VALUE, no_label
from checkpointheal_operator.api.rules import rules
from checkpointheal_operator.core.deadlines import FIFTHS, ORDERS, PATIENCE, Order
from checkpointheal_operator.core.policy import MOST_MEMBERS

Positive = Annotated[int, Field(ge=1, le=1_000_000)]
Members = Annotated[int, Field(ge=1, le=1_000_000, json_schema_extra={"maximum": MOST_MEMBERS})]
"""An object that an older definition took is read, so that its job can be told what is wrong with it."""
Seconds = Annotated[int, Field(ge=1, le=86_400)]
Rate = Annotated[int, Field(ge=1, le=MOST)]
"""Bytes per second."""


Name = Annotated[str, Field(max_length=317, json_schema_extra={"pattern": NAME})]
Value = Annotated[str, Field(max_length=63, json_schema_extra={"pattern": VALUE})]
"""As with `Members`, an older definition took others."""

_COMPARED = (
    "values must be said for In and NotIn, and for those alone: NotIn without any would take every pod of the namespace"
)


class Expression(Part):
    """One requirement on a label."""

    model_config = Part.model_config | {
        "json_schema_extra": rules(("(self.operator in ['In', 'NotIn']) == (size(self.values) > 0)", _COMPARED))
    }

    key: Name = Field(description="The label's name.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="How values are compared.")
    values: tuple[Value, ...] = Field(
        default=(), max_length=64, description="What the label may or may not be; none for Exists and DoesNotExist."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        """Objects may be older than the definition."""
        if (self.operator in ("In", "NotIn")) != bool(self.values):
            raise ValueError(_COMPARED)
        return self


class Selector(Part):
    """Which pods belong to the job. All requirements must hold."""

    model_config = Part.model_config | {
        "json_schema_extra": rules(
            (
                "size(self.matchLabels) + size(self.matchExpressions) > 0",
                "selector must name at least one label: an empty one would take every pod of the namespace",
            ),
            (
                f"self.matchLabels.all(name, name.matches('{NAME}'))",
                "matchLabels must have names that a label can have",
            ),
        )
    }

    match_labels: dict[str, Value] = Field(
        default={}, max_length=64, description="Labels and the values that they must have."
    )
    match_expressions: tuple[Expression, ...] = Field(
        default=(), max_length=64, description="Requirements that equality cannot say."
    )

    @property
    def flaw(self) -> str:
        """What of it can be no label, and what can; empty where all can."""
        equal = (no_label(name, (value,)) for name, value in self.match_labels.items())
        compared = (no_label(each.key, each.values) for each in self.match_expressions)
        return next(filter(None, chain(equal, compared)), "")


class Layout(Part):
    """How the pods make up replicas."""

    model_config = Part.model_config | {
        "json_schema_extra": rules(
            (
                "!has(self.minReplicas) || !has(self.replicas) || self.minReplicas <= self.replicas",
                "minReplicas must not be more than replicas",
            ),
            (
                f"(has(self.replicas) ? self.replicas : 1) * (has(self.ranks) ? self.ranks : 1) <= {MOST_MEMBERS}",
                f"a job has {MOST_MEMBERS} members at most: replicas times ranks",
            ),
        )
    }

    replicas: Members | None = Field(
        default=None,
        description="Complete copies of the training state; replicas times ranks are "
        f"{MOST_MEMBERS} at most. Absent: as many as pods were ever seen to hold.",
    )
    ranks: Members | None = Field(
        default=None,
        description="Members of each replica; each holds one coordinate. It must be what the pods' annotation "
        "checkpointheal.dev/ranks says, which agents go by; absent: it is that, else 1.",
    )
    min_replicas: Members | None = Field(
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
    bytes_per_second: Rate | None = Field(
        default=None, description="Cap on what a donor sends. Absent: as fast as it goes."
    )
    floor_bytes_per_second: Rate | None = Field(
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
    """In CEL, in fifths of a second: what is said, else what follows from the patience. A division would round."""
    name = f"{to_camel(field)}Seconds"
    return f"(has(self.{name}) ? self.{name} * 5 : self.patienceSeconds * {FIFTHS[field]})"


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
