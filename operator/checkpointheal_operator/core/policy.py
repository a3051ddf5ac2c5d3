"""What the user wants of a job, as every decision reads it.

Times are seconds. Must not know where it was written.
"""

from functools import lru_cache
from typing import Literal

from pydantic import Field

from checkpointheal.contract.base import LONGEST, Count, Frozen, Seconds
from checkpointheal.contract.identity import MemberId

MOST_MEMBERS = 2048
"""Of one job. What is kept of more of them does not fit into one object of etcd."""


class Policy(Frozen):
    """What the user wants, with defaults that suit a job of gigabytes."""

    replicas: int = Field(ge=1, description="Complete copies of the training state.")
    ranks: int = Field(default=1, ge=1, description="Members of each replica; each holds one coordinate.")
    min_replicas: int | None = Field(
        default=None, ge=1, description="So many whole replicas may go on without the others; None: nobody may."
    )
    donor_limit: int = Field(default=2, ge=1, description="Recipients that one donor serves at a time.")
    report_deadline: Seconds = Field(default=10, description="How long a live pod's agent may take to report at first.")
    agent_silence: Seconds = Field(default=6, description="An agent not heard for this long is silent.")
    stopped_grace: Seconds = Field(default=5, description="How long a trainer may stand still.")
    transfer_floor_bytes_per_second: int = Field(default=50_000_000, ge=1, description="Slower than this is overdue.")
    transfer_seconds_at_least: Seconds = Field(default=30, description="No deadline over bytes is shorter.")
    bytes_per_second: Count | None = Field(default=None, description="Cap on what a donor sends; None: no cap.")
    channel: Literal["tls", "gloo"] = Field(default="tls", description="How states cross between agents.")
    epoch_end_deadline: Seconds = Field(default=10, description="How long a trainer may take to end by itself.")
    go_on_without: Seconds = Field(default=30, description="How long those who may go on wait for who was lost.")
    restore_budget: Seconds = Field(default=180, description="How long a trainer waits in restore().")
    buddies: Count = Field(default=2, description="Other members that keep a member's private parts.")
    private_behind: Literal["Refuse", "Allow"] = Field(
        default="Refuse",
        description="Whether a member whose private part of no common step is left goes on with an earlier one.",
    )
    max_attempts: int = Field(default=6, ge=1, description="Failed attempts per heal before its rung is given up.")
    retry_pause: Seconds = Field(
        default=1,
        description="How long a donor that failed a heal rests; twice as long after each further failure, "
        "64 times at most.",
    )
    fallback: Literal["Checkpoint", "Hold"] = Field(
        default="Checkpoint",
        description="What follows where memory has nothing to give: the user's checkpoint, or a wait.",
    )
    same_step_crashes: int = Field(default=3, ge=1, description="Crashes of a member at one step that are forgiven.")
    probation_steps: Count = Field(
        default=8, description="First steps of a healed member that are compared with its peers'; 0: none."
    )
    drill_every: Seconds | None = Field(default=None, description="From one drill to the next; None: only when asked.")

    def members(self) -> tuple[MemberId, ...]:
        """Every place in the job, in order."""
        return _places(self.replicas, self.ranks)

    @property
    def is_too_large(self) -> bool:
        """Whether it has more members than a job can have: then nobody may ask for all of them."""
        return self.replicas * self.ranks > MOST_MEMBERS

    @property
    def may_be_short(self) -> bool:
        """Whether an epoch may begin without some of the replicas."""
        return self.min_replicas is not None and self.min_replicas < self.replicas

    @property
    def word_within(self) -> float:
        """Seconds until a survivor that has lost a peer has heard of it: a silence is seen, a new leader hears all."""
        return max(20.0, self.agent_silence + self.report_deadline + 4)

    def patience(self, size: int) -> float:
        """Seconds that `size` bytes may take: as many as an order can say at most."""
        return min(LONGEST, max(self.transfer_seconds_at_least, size / self.transfer_floor_bytes_per_second))


@lru_cache(maxsize=256)
def _places(replicas: int, ranks: int) -> tuple[MemberId, ...]:
    """The same for all jobs of that shape; every decision asks."""
    return tuple(MemberId(replica=r, rank=k) for r in range(replicas) for k in range(ranks))
