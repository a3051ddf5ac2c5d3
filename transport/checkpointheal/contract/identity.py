"""Who is who: a member's place in the job, and which life of it is speaking.

Must not know how a place is found (labels, environment): the operator's shell does.
"""

from pydantic import Field

from checkpointheal.contract.base import Count, Frozen, Name


class MemberId(Frozen):
    """A place in the job, held by one pod at a time. Written `replica/rank`."""

    replica: Count = Field(description="Which complete copy of the training state.")
    rank: Count = Field(default=0, description="Position inside the replica.")

    @property
    def coordinate(self) -> int:
        """Which part of model and optimizer this member holds; peers in other replicas hold the same one."""
        return self.rank

    def __str__(self) -> str:
        return f"{self.replica}/{self.rank}"

    # Places are looked up and compared at every step of a decision: as pydantic does it, looks took twice as long.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, MemberId) and (self.replica, self.rank) == (other.replica, other.rank)

    def __hash__(self) -> int:
        return hash((self.replica, self.rank))

    def __lt__(self, other: "MemberId") -> bool:
        return (self.replica, self.rank) < (other.replica, other.rank)

    @classmethod
    def parse(cls, text: str) -> "MemberId":
        """Read `replica/rank`; raises ValueError that shows the text."""
        replica, slash, rank = text.partition("/")
        if not slash or not replica.isdecimal() or not rank.isdecimal():
            raise ValueError(f"a member is written replica/rank, as in 1/0, not {text!r}")
        return cls(replica=int(replica), rank=int(rank))


class Endpoint(Frozen):
    """Where an agent's peer door listens."""

    host: Name = Field(min_length=1)
    port: int = Field(ge=1, le=65535)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def any_address(like: str) -> str:
    """What to bind in order to be reached at all addresses of this one's family."""
    return "::" if ":" in like else "0.0.0.0"  # noqa: S104 a pod's own
