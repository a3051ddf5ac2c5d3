"""What trainer library, `checkpointheal run` and agent say to each other, over the arena's Unix socket.

One JSON object a line, tagged by `say`. Whole words only: the socket lives in memory shared by two containers of one
pod, so the peer is the same user's process, but it may be another version of us.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from checkpointheal.contract.base import Count, Digest, Epoch, Id, Message, Seconds, Sentence, Step, Word
from checkpointheal.contract.signals import Signals

TRAINER_PROTOCOL = 3
UNKEPT_SINCE = 2
"""An agent of this protocol or a later one knows `Unkept`."""
SOCKET_NAME = "agent.sock"
LINE_LIMIT = 1 << 20
"""Bytes of one message, either way."""
PRIVATE_AT_MOST = 16 << 20
"""Bytes of one private part: an agent keeps some of two members, in the memory that it has besides the arena."""
HOLD = "Hold"
"""Why a trainer waits for as long as it takes, where nothing is amiss."""
EXIT_EPOCH_OVER = 75
"""The trainer ended because its epoch did (sysexits' EX_TEMPFAIL): restart it, nothing is wrong with it."""


class Hello(Message):
    """A trainer or its `run` has come."""

    say: Literal["hello"] = "hello"
    role: Literal["trainer", "run"]
    protocol: int = TRAINER_PROTOCOL
    incarnation: Id
    pid: Count
    epoch: Epoch = Field(
        default=0, description="The epoch that it trains in, where it comes back to a restarted agent."
    )
    behind: bool = Field(
        default=False,
        description="It can begin with a private part of an earlier step than its state's. False: a part of it counts "
        "steps; `run`'s, or an older trainer's.",
    )
    build: Id = Field(default="", description="Its torch and processor; empty: `run`'s, or an older trainer's.")


class Reserve(Message):
    """The trainer needs slots of this size before its first commit."""

    say: Literal["reserve"] = "reserve"
    slot_bytes: Count
    part_bytes: Count = Field(
        default=0, description="And room beside them for private parts, each of so many. 0: an older trainer's."
    )


class Wait(Message):
    """The trainer waits in `restore()`. One number per call, so that an answer to a withdrawn call is not taken."""

    say: Literal["wait"] = "wait"
    request: Count
    budget: Seconds
    held: bool = Field(default=False, description="It was told to wait for as long as it takes, and does.")
    goes_on: bool = Field(default=False, description="It can train in an epoch that leaves some members out.")


class Withdraw(Message):
    """The trainer stopped waiting: its budget is used up."""

    say: Literal["withdraw"] = "withdraw"
    request: int


class Sealed(Message):
    """A generation is whole."""

    say: Literal["sealed"] = "sealed"
    slot: int
    step: Step
    pause: Seconds = Field(description="How long the training loop stood still for it.")
    signals: Signals | None = Field(default=None, description="None: the loop tells none, or an older trainer.")


class Unkept(Message):
    """The latest step could not be kept, or what was restored not be loaded. Over with the next `Sealed` or `Hello`."""

    say: Literal["unkept"] = "unkept"
    reason: Word
    message: Sentence
    arena_bytes: Count | None = Field(default=None, description="Size of an arena that would do.")


class PrivateReady(Message):
    """The private part of a step lies in the arena, before its generation is sealed."""

    say: Literal["private_ready"] = "private_ready"
    step: Step
    file: str


class Applied(Message):
    """What `restore()` did with its answer."""

    say: Literal["applied"] = "applied"
    epoch: Epoch
    step: Step | None
    seconds: Seconds
    digest: Digest | None = Field(
        default=None, description="State digest of the live objects after loading; equals the generation's."
    )


class Rejoined(Message):
    """All ranks agreed; training goes on."""

    say: Literal["rejoined"] = "rejoined"
    epoch: Epoch
    seconds: Seconds


class Done(Message):
    """Training is over; nobody heals this member any more."""

    say: Literal["done"] = "done"


class Exited(Message):
    """`run` saw its trainer end or stand still; neither code nor signal nor stopped: it goes on again."""

    say: Literal["exited"] = "exited"
    incarnation: Id
    code: int | None = None
    signal: int | None = None
    stopped: bool = False


class StoreAsk(Message):
    """One word to the rendezvous of an epoch. Only where `Restored.rendezvous` is said.

    Trainers of one epoch find each other in a store that an agent holds; it passes from agent to agent as it stands.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    say: Literal["store_ask"] = "store_ask"
    number: Count = Field(description="One per word of a trainer's life.")
    epoch: Epoch
    do: Literal["set", "get", "add", "check"] = Field(description="`get` is answered once the key is there.")
    key: str = Field(max_length=1024)
    value: bytes = Field(default=b"", description="What to set; to add, a number in decimal.")


TrainerSays = Annotated[
    Hello | Reserve | Wait | Withdraw | Sealed | Unkept | PrivateReady | Applied | Rejoined | Done | Exited | StoreAsk,
    Field(discriminator="say"),
]


class Reserved(Message):
    """The slots exist and their pages are charged to the agent."""

    say: Literal["reserved"] = "reserved"
    protocol: int = Field(default=1, description="What the agent speaks: it ends a connection at a word unknown to it.")


class Refused(Message):
    """The agent will not, and why."""

    say: Literal["refused"] = "refused"
    protocol: int = Field(default=1, description="What the agent speaks.")
    reason: str
    message: str


class Restored(Message):
    """The answer to `Wait`: the epoch's step and where its bytes lie; no step: a checkpoint or a fresh start."""

    say: Literal["restored"] = "restored"
    request: int
    epoch: Epoch
    step: Step | None
    rung: str
    slot: int | None
    state_digest: Digest | None = Field(default=None, description="What the slot's bytes must still be.")
    highest: Step | None = Field(
        default=None, description="Highest step that the job had reached before: up to it, steps are computed again."
    )
    private_begins: bool = Field(
        default=False, description="This member never had a private part: its own begins as the script has made it."
    )
    private_step: Step | None = Field(
        default=None, description="The earlier step that this member's private part is of; None: of `step`."
    )
    rendezvous: bool = Field(default=False, description="The agent carries `StoreAsk` for this epoch.")
    members: Count = Field(default=0, description="How many take part in the epoch; 0: nobody says.")
    left_out: Count = Field(default=0, description="How many have a place in the job and are not in this epoch.")
    place: Count | None = Field(default=None, description="This member's number among those in it; None: not said.")
    word_within: Seconds = Field(default=20, description="Until when who loses a peer hears that the epoch is over.")
    reason: str = ""
    message: str = ""

    def is_short_of(self, world: int) -> bool:
        """Whether others of so many ranks have ended for good: they are neither in the epoch nor left out of it."""
        return 0 < self.members < world - self.left_out


class Waiting(Message):
    """There is no answer to `Wait` yet, and why; it may still come."""

    say: Literal["waiting"] = "waiting"
    request: int
    reason: str
    message: str
    hold: bool = Field(
        default=False,
        description="Wait for as long as it takes; once it is not said any more, the budget counts from its beginning.",
    )


class PrivateKept(Message):
    """A buddy's agent has the private part of this step (0 buddies: this job has no other member)."""

    say: Literal["private_kept"] = "private_kept"
    step: Step
    buddies: Count


class EpochOver(Message):
    """Somebody was lost. End blocked collectives; be gone by the deadline."""

    say: Literal["epoch_over"] = "epoch_over"
    epoch: Epoch
    reason: str
    message: str
    deadline: Seconds


class LeaveEpoch(Message):
    """Nobody was lost, somebody is to come in: leave the epoch at a commit, all at the same one."""

    say: Literal["leave_epoch"] = "leave_epoch"
    epoch: Epoch
    reason: Word
    message: Sentence


class EndTrainer(Message):
    """To `run`: this trainer stands still; kill it and start another. An incarnation that is gone is ignored."""

    say: Literal["end_trainer"] = "end_trainer"
    incarnation: str
    reason: str


class StoreSaid(Message):
    """The answer to a `StoreAsk`: a value, or why there is none."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    say: Literal["store_said"] = "store_said"
    number: Count
    epoch: Epoch
    value: bytes | None = Field(default=None, description="None: not there, or not yet.")
    reason: str = Field(default="", description="Why the rendezvous will not answer; empty: it did.")
    message: str = ""


AgentSays = Annotated[
    Reserved | Refused | Restored | Waiting | PrivateKept | EpochOver | LeaveEpoch | EndTrainer | StoreSaid,
    Field(discriminator="say"),
]

TRAINER_SAYS: TypeAdapter[TrainerSays] = TypeAdapter(TrainerSays)
AGENT_SAYS: TypeAdapter[AgentSays] = TypeAdapter(AgentSays)
