"""What the agent and the child that moves bytes for it say to each other.

Must not know torch: the agent reads this too.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from checkpointheal.agent.tls import Papers
from checkpointheal.contract.base import Attempt, Count, Digest, Epoch, Frozen, Seconds, Step
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.layout import Identity


class Secured(Frozen):
    """What a transfer over TLS needs beside its addresses."""

    papers: Papers
    peer_uid: str = Field(description="The pod that the other side must be.")
    ticket: str = Field(default="", repr=False, description="What the recipient shows at the donor's door.")


class Errand(Frozen):
    """One side of one transfer."""

    model_config = ConfigDict(hide_input_in_errors=True)

    side: Literal["donor", "recipient"]
    arena: Path
    job: str
    member: MemberId
    heal: str
    attempt: Attempt
    epoch: Epoch
    identity: Identity
    host: str = Field(description="Where the donor's store listens, and where this side's channel binds.")
    store_port: Count = Field(
        default=0,
        description="Where the recipient calls: the donor's store or, over TLS, its door. 0 on the donor's side.",
    )
    prefix: str
    slot: int | None = Field(default=None, description="Which slot the donor gives.")
    slots: int = 2
    deadline: Seconds
    stall: Seconds = Field(default=5.0, description="Without a chunk for this long the peer counts as gone.")
    bytes_per_second: Count | None = None
    secured: Secured | None = Field(default=None, description="None: over gloo.")
    drill: bool = Field(default=False, description="Nothing is pinned or kept.")
    stands_back: bool = Field(default=False, description="Whoever else is busy in this pod goes first.")


class Meeting(Frozen):
    """The donor waits for its recipient: at its store or, over TLS, at the agent's door."""

    say: Literal["meeting"] = "meeting"
    store_port: int = 0


class Progress(Frozen):
    """Bytes that crossed so far."""

    say: Literal["progress"] = "progress"
    bytes: Count
    total: Count


class Ended(Frozen):
    """It worked."""

    say: Literal["ended"] = "ended"
    bytes: Count
    total: Count
    hold_seconds: Seconds
    transfer_seconds: Seconds
    verify_seconds: Seconds
    step: Step
    state_digest: Digest


class Failed(Frozen):
    """It did not, and why."""

    say: Literal["failed"] = "failed"
    reason: str
    message: str
    bytes: Count = 0


ErrandSays = Annotated[Meeting | Progress | Ended | Failed, Field(discriminator="say")]
ERRAND_SAYS: TypeAdapter[ErrandSays] = TypeAdapter(ErrandSays)
