"""What does an agent report to the operator, over the gateway?

A report is the agent's whole truth, not a change of it, so a lost one costs nothing. Must not know HTTP.
"""

from typing import Annotated, Literal

from pydantic import Field

from checkpointheal.contract.base import Attempt, Count, Digest, Epoch, Id, Message, Name, Seconds, Sentence, Step, Word
from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.signals import Signals

GATEWAY_PROTOCOL = 1
MANY = 1024
"""Items of one kind that a report may have."""
ExitStatus = Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]


class TrainerExit(Message):
    """How a trainer ended, as seen by the process that started it."""

    incarnation: Id
    epoch: Epoch
    code: ExitStatus | None = None
    signal: ExitStatus | None = None
    told: bool = Field(default=False, description="The agent had told it that its epoch was over.")


class TrainerFacts(Message):
    """What the agent sees of its trainer."""

    state: Literal["absent", "starting", "waiting", "training", "stopped", "done"] = Field(
        default="absent", description="`waiting`: in `restore()`. `stopped`: alive, but standing still."
    )
    incarnation: Id | None = None
    request: Count = Field(
        default=0, description="Number of the agent's latest request for a state; 0 before the first."
    )
    epoch: Epoch = Field(default=0, description="The epoch that the trainer is in, or was in last.")
    goes_on: bool = Field(
        default=False, description="It can train in an epoch that leaves some members out. False: or an older build."
    )
    exit: TrainerExit | None = Field(
        default=None, description="The latest end, until the next trainer waits and after."
    )
    applied_seconds: Seconds | None = None
    rejoined_seconds: Seconds | None = None
    applied_digest: Digest | None = None


class Generation(Message):
    """A sealed generation in the agent's arena."""

    step: Step
    schema_digest: Digest
    state_digest: Digest | None = Field(default=None, description="None until the agent has read it through.")
    bytes: Count
    private: bool = Field(description="The member's own private part of this step lies beside it.")
    epoch: Epoch | None = Field(default=None, description="The epoch that it was sealed in; None: not said.")

    @property
    def identity(self) -> Identity | None:
        """Which state it is; None until it has been read through."""
        if self.state_digest is None:
            return None
        return Identity(step=self.step, schema_digest=self.schema_digest, state_digest=self.state_digest)


class Passed(Message):
    """A step that was committed in the epoch under way; its generation may be overwritten by now."""

    step: Step
    epoch: Epoch
    schema_digest: Digest | None = None
    state_digest: Digest | None = Field(default=None, description="None: not read through, or not yet.")
    signals: Signals | None = Field(default=None, description="None: the loop tells none.")


class PrivateHeld(Message):
    """A buddy's keep: the private parts of another member that this agent holds."""

    member: MemberId
    steps: tuple[Step, ...] = Field(max_length=MANY)


class TransferFacts(Message):
    """How far this agent got with its latest assignment, as recipient."""

    heal: Name
    attempt: Attempt
    state: Literal["asking", "receiving", "verified", "failed"]
    donor: Name | None = Field(default=None, description="Pod name of the donor it talks or talked to.")
    bytes: Count = Field(default=0, description="Bytes that crossed in this attempt.")
    total: Count = Field(default=0, description="Bytes of the whole state.")
    reason: Word = ""
    message: Sentence = ""
    hold_seconds: Seconds = Field(default=0, description="From asking the donor to its offer.")
    transfer_seconds: Seconds = Field(default=0, description="From the offer to the last byte.")
    verify_seconds: Seconds = Field(default=0, description="From the last byte to the verdict.")


class DrillFacts(TransferFacts):
    """How far this agent got with its latest drill, as recipient; `heal` is the drill's name."""

    step: Step | None = Field(default=None, description="Of the state that arrived.")
    state_digest: Digest | None = Field(default=None, description="What its bytes were, verified.")


class Flaw(Message):
    """Why a member is not protected now: a loss of it would cost more than a heal."""

    reason: Word = Field(description="In one word.")
    message: Sentence = Field(default="", description="In a sentence that names the thing.")
    arena_bytes: Count | None = Field(default=None, description="Size of an arena that would do.")
    memory_bytes: Count | None = Field(default=None, description="What the agent's memory lacks, arena apart.")


class AgentReport(Message):
    """Everything an agent knows that a decision may need."""

    protocol: int = GATEWAY_PROTOCOL
    job: Name
    member: MemberId
    pod: Name
    pod_uid: Id
    local_ranks: Count = Field(default=1, description="Seats of its pod, as it was made. 1 too: an older build.")
    agent: Id = Field(description="Which start of the agent speaks.")
    started: float | None = Field(
        default=None,
        ge=0,
        le=1e12,
        description="When that was, in seconds since 1970 by its node. None: an older build.",
    )
    sequence: Count = Field(description="Grows with each report of this start; an older one is dropped.")
    endpoint: Endpoint
    build: Id = Field(default="", description="torch and CPU build: only equal ones must agree on a digest.")
    torch: Id = Field(default="", description="Version of the agent's own torch. Empty: an older build.")
    certified: bool = Field(default=False, description="Agents of its job know each other by certificates.")
    trainer: TrainerFacts = TrainerFacts()
    generations: tuple[Generation, ...] = Field(default=(), max_length=MANY)
    passed: tuple[Passed, ...] = Field(
        default=(),
        max_length=MANY,
        description="The first steps of the epoch, as many as `EpochOrder.probation` asks for, ascending.",
    )
    private_held: tuple[PrivateHeld, ...] = Field(default=(), max_length=MANY)
    private_own: tuple[Step, ...] = Field(
        default=(),
        max_length=MANY,
        description="Steps whose private part of this member lies in its arena, beside a generation or not.",
    )
    behind: bool = Field(
        default=False,
        description="It can be given a private part of an earlier step than its state's; as long as its trainer has "
        "not come, that is not known to be wrong. False: its trainer cannot, or an older build.",
    )
    transfer: TransferFacts | None = None
    drills: bool = Field(default=False, description="It can take part in a drill. False: an older build, not asked.")
    drill: DrillFacts | None = None
    serving: tuple[Name, ...] = Field(
        default=(), max_length=MANY, description="Heals and drills that this agent is sending bytes for."
    )
    attempt_seen: Count = Field(default=0, description="Highest attempt that this agent has ever seen.")
    epoch_seen: Epoch = 0
    answered: Name | None = Field(
        default=None, description="The latest question that it heard; empty: none yet. None: an older build, not asked."
    )
    conditions: tuple[Word, ...] = Field(
        default=(),
        max_length=MANY,
        description="The words of `flaws`, for an operator that knows no more; an older agent says no more.",
    )
    flaws: tuple[Flaw, ...] = Field(default=(), max_length=MANY, description="Why this member is not protected now.")

    @property
    def unprotected(self) -> tuple[Flaw, ...]:
        """Its flaws in the order of their words, those included of which an older agent says nothing but the word."""
        told = {each.reason for each in self.flaws}
        bare = (Flaw(reason=word) for word in self.conditions if word not in told)
        return tuple(sorted((*self.flaws, *bare), key=lambda flaw: flaw.reason))
