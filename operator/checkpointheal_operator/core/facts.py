"""What do the API server and the agents tell of one job?

Pods that claim a place in it, and the latest word of each agent; `gather` brings them. Times are seconds on one clock
of the caller's choice. Must not know what was decided.
"""

from pydantic import Field

from checkpointheal.contract.base import Frozen
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import AgentReport
from checkpointheal.contract.seats import Seats, seat_name, seat_uid
from checkpointheal_operator.core.reasons import Reason


class Trouble(Frozen):
    """Why no agent is at work in a pod, and what helps. `pod_trouble.trouble` finds it."""

    reason: Reason
    message: str


class PodFacts(Frozen):
    """A pod that claims a place."""

    member: MemberId
    name: str
    uid: str
    node: str = ""
    zone: str = ""
    terminating: bool = Field(default=False, description="Its deletion has begun.")
    ends_at: float | None = Field(default=None, description="When its deletion should be over; None: nobody said.")
    finished: bool = Field(default=False, description="It ran to its end in success; its agent is silent for good.")
    seen_since: float = Field(description="When it was created or, where that is unknown, first seen.")
    revision: str = Field(default="", description="Of the template that it was made from; empty where none is told.")
    holds_back: bool = Field(default=False, description="A StatefulSet's, not Ready: those after it may wait for it.")
    trouble: Trouble | None = Field(default=None, description="What keeps its agent from its work, by its object.")
    is_made: bool = Field(default=False, description="A controller made it, and no hand.")
    trainer_ails: str = Field(default="", description="What its kubelet says of a trainer that does not come up.")

    @property
    def is_at_work(self) -> bool:
        """Neither at its end nor on its way out."""
        return not self.finished and not self.terminating

    def seated(self, seats: Seats) -> tuple["PodFacts", ...]:
        """This pod by its seats: member, name and uid are each seat's own, all else is their pod's."""
        return tuple(
            self.but(member=member, name=seat_name(self.name, at, seats.count), uid=seat_uid(self.uid, at))
            for at, member in enumerate(seats.members)
        )


class Stranger(Frozen):
    """A seat that the policy selects too, of another job than the one that it looks after."""

    pod: PodFacts
    job: str
    ours: str = Field(description="The job that is looked after.")


class Heard(Frozen):
    """The latest report of a pod's agent to this leader. `hearing.hear` makes it."""

    report: AgentReport
    at: float = Field(description="When it came.")
    agent_since: float = Field(description="When this start of the agent was first heard.")
    trainer_since: float = Field(description="When the trainer was first heard to be as it is.")
