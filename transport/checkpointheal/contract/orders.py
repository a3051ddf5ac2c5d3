"""What does the operator order an agent, over the gateway?

Orders are declared state: an agent compares them with what it does. Must not know HTTP.
"""

from pydantic import Field

from checkpointheal.contract.base import Attempt, Count, Digest, Epoch, Message, Seconds, Step
from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.layout import Identity

MOST_ABSENT = 16384
"""An agent hears of more than an operator lets a job have today: it may be the older one of the two."""


class Peer(Message):
    """Another agent, as an order names it."""

    member: MemberId
    pod: str
    pod_uid: str
    endpoint: Endpoint
    start: str = Field(
        default="", description="Which start of its agent: said of buddies, for the next start keeps nothing any more."
    )


class Assignment(Message):
    """Receive this state from these donors, in this order."""

    heal: str
    attempt: Attempt
    recipient: Peer
    donors: tuple[Peer, ...] = Field(min_length=1, description="The chosen one first, then who takes over if it dies.")
    step: Step
    schema_digest: Digest
    state_digest: Digest
    deadline: Seconds = Field(description="Seconds from its receipt until both sides let go.")
    bytes_per_second: Count | None = Field(
        default=None, description="Cap on what the donor sends; None: as fast as it goes."
    )
    channel: str = Field(default="gloo", description="How the bytes shall cross: tls or gloo.")

    @property
    def identity(self) -> Identity:
        """The state that is meant."""
        return Identity(step=self.step, schema_digest=self.schema_digest, state_digest=self.state_digest)


class Drill(Assignment):
    """Receive a state as for a heal, verify it, and drop it. `heal` is the drill's name; its attempt fences nothing.

    The donor gives the newest state that it holds, which may be newer than the one that is named. A kind of its own, in
    a field of its own: an agent that does not know it overlooks it, and cannot take it for a heal.
    """


class EpochOrder(Message):
    """The membership as it stands."""

    epoch: Epoch
    over: bool = Field(description="True: end this epoch's collectives. False: a waiting trainer may take its answer.")
    reason: str = ""
    message: str = ""
    step: Step | None = Field(default=None, description="Restore step; None: the user's checkpoint or a fresh start.")
    highest: Step | None = Field(
        default=None,
        description="Highest step that any member had reached before this epoch: side effects ran until it.",
    )
    rung: str = ""
    deadline: Seconds = Field(default=10, description="How long a trainer may take to end by itself once it is over.")
    word_within: Seconds = Field(default=20, description="Until when who loses a peer hears that the epoch is over.")
    incarnation: str | None = Field(default=None, description="Only this trainer may take its answer; None: any.")
    private_begins: bool = Field(
        default=False, description="This member never had a private part: it is given none, and its own begins now."
    )
    private_step: Step | None = Field(
        default=None,
        description="This member's private part of the restore step is nowhere: it is given the one of this earlier "
        "step. Said only to an agent that has reported `behind`. None: of the restore step.",
    )
    missed_since: Epoch = Field(
        default=0,
        description="Epochs from this one on went on without this member: what it sealed before is of another past, "
        "and goes. 0: it missed none.",
    )
    left_out: tuple[MemberId, ...] = Field(
        default=(), max_length=MOST_ABSENT, description="Who has a place in the job and is not in this epoch."
    )
    place: Count | None = Field(
        default=None, description="This member's number among those in it, from 0 on; None: an older operator."
    )
    leave: bool = Field(
        default=False, description="All who are in it are to leave it together, at a commit: somebody is to come in."
    )
    host: Peer | None = Field(
        default=None, description="Whose agent holds the rendezvous of this epoch; None: it is not known now."
    )
    members: Count = Field(default=0, description="How many take part; 0: an older operator does not say.")
    probation: Count = Field(
        default=0, description="How many of its first steps are to be reported as `Passed`; 0: none are asked for."
    )


NOT_KNOWN = 0
"""The revision of no orders: nobody has decided yet what this agent should be doing."""
POLL_SECONDS = 20.0
"""After which whoever asks for other orders than it has is answered though there are none."""


class Orders(Message):
    """All that an agent should be doing."""

    revision: Count = Field(description="Another one where anything else is; 0: nothing is known.")
    epoch: EpochOrder | None = None
    assignment: Assignment | None = Field(default=None, description="This agent is the recipient.")
    grants: tuple[Assignment, ...] = Field(default=(), description="This agent is among the donors.")
    drill: Drill | None = Field(
        default=None, description="This agent is its recipient, or its donor. Whatever else it is ordered comes first."
    )
    buddies: tuple[Peer, ...] = Field(default=(), description="Who keeps this member's private parts.")
    keep_steps: tuple[Step, ...] = Field(default=(), description="Steps whose private parts must not be dropped.")
    private_from: tuple[Peer, ...] = Field(
        default=(), description="Who holds the private part of this member that the epoch begins with."
    )
    restart_trainer: str | None = Field(
        default=None, description="Incarnation of a trainer to be killed: it stands still."
    )
    withdrawn: bool = Field(default=False, description="The operator does nothing for this pod.")
    question: str = Field(default="", description="Whether this agent is there: it reports at once, and repeats this.")
    hold: bool = Field(
        default=False, description="A trainer in `restore()` waits for as long as it takes: its budget does not count."
    )
    reason: str = Field(
        default="",
        description="Why it does nothing, in one word (empty: it knows no policy for it); or what the job is held for.",
    )
    message: str = Field(default="", description="Why, in a sentence.")
