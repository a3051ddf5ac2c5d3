"""What the agent and the child that moves bytes for it say to each other.

Must not know torch: the agent reads this too.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from checkpointheal.contract.base import Attempt, Count, Digest, Epoch, Frozen, Seconds
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.layout import Identity


class Errand(Frozen):
    """One side of one transfer."""

    side: Literal["donor", "recipient"]
    arena: Path
    job: str
    member: MemberId
    heal: str
    attempt: Attempt
    epoch: Epoch
    identity: Identity
    host: str = Field(description="Where the donor's store listens, and where this side's channel binds.")
    store_port: Count = Field(default=0, description="0 on the donor's side: it takes a free one and says which.")
    prefix: str
    slot: int | None = Field(default=None, description="Which slot the donor gives.")
    slots: int = 2
    deadline: Seconds
    stall: Seconds = Field(default=5.0, description="Without a chunk for this long the peer counts as gone.")
    bytes_per_second: Count | None = None


class Meeting(Frozen):
    """The donor's store listens."""

    say: Literal["meeting"] = "meeting"
    store_port: int


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
    state_digest: Digest


class Failed(Frozen):
    """It did not, and why."""

    say: Literal["failed"] = "failed"
    reason: str
    message: str
    bytes: Count = 0


ErrandSays = Annotated[Meeting | Progress | Ended | Failed, Field(discriminator="say")]
ERRAND_SAYS: TypeAdapter[ErrandSays] = TypeAdapter(ErrandSays)
