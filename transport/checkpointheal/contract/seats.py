"""Who is who inside a pod of several local ranks?

A seat is a pod and a local rank: it has an arena, an agent and a trainer of its own, so whoever decides about states
sees seats where there are pods. Seat 0 bears its pod's own UID; what the cluster calls a pod is found by `pod_of`.
Must not know how a place is found, nor where an arena lies.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from checkpointheal.contract.base import Count, Frozen
from checkpointheal.contract.identity import MemberId

MOST_SEATS = 64
"""Local ranks of one pod. No node has so many accelerators."""
MEMBER = "CHECKPOINTHEAL_MEMBER"
"""The pod's own place."""
LOCAL_RANKS, RANKS = "CHECKPOINTHEAL_LOCAL_RANKS", "CHECKPOINTHEAL_RANKS"
"""Variables of agent and trainer, set where a pod has more than one seat."""
_SEAT_UID = re.compile(r"(?P<pod>.+)\.(?P<local_rank>[1-9][0-9]?)")

LocalRanks = Annotated[int, Field(ge=1, le=MOST_SEATS)]


class Seats(Frozen):
    """All seats of one pod, and the member in each.

    A pod holds a block of its replica's ranks, or one replica after the other: nothing in between, for such a pod's
    loss would break a replica that it holds only a part of.
    """

    pod: MemberId = Field(description="The pod's own place: its replica, and its block of that replica's ranks.")
    count: LocalRanks = 1
    ranks: Annotated[int, Field(ge=1)] = Field(default=1, description="Members of each replica.")

    @model_validator(mode="after")
    def _divides(self) -> "Seats":
        if not divides(self.ranks, self.count):
            raise ValueError(f"{self.count} local ranks and {self.ranks} ranks per replica do not divide each other")
        if self.count > 1 and self.pod.rank >= pods_per_replica(self.ranks, self.count):
            raise ValueError(
                f"a replica of {self.ranks} ranks has no block {self.pod.rank} of {self.count} local ranks"
            )
        return self

    def member(self, local_rank: Count) -> MemberId:
        """Who sits there."""
        if self.count == 1:
            return self.pod
        ordinal = self.pod.replica * pods_per_replica(self.ranks, self.count) + self.pod.rank
        first = ordinal * self.count
        return MemberId(replica=(first + local_rank) // self.ranks, rank=(first + local_rank) % self.ranks)

    @property
    def members(self) -> tuple[MemberId, ...]:
        """All of them, by local rank."""
        return tuple(map(self.member, range(self.count)))

    @classmethod
    def told(cls, environment: Mapping[str, str]) -> "Seats":
        """Read the pod's place and `variables` back; raises ValueError."""
        pod = MemberId.parse(environment.get(MEMBER, "0/0"))
        return cls(pod=pod, count=int(environment.get(LOCAL_RANKS, "1")), ranks=int(environment.get(RANKS, "1")))

    @property
    def variables(self) -> dict[str, str]:
        """What agent and trainer are told besides the pod's place; nothing where there is one seat."""
        return {LOCAL_RANKS: str(self.count), RANKS: str(self.ranks)} if self.count > 1 else {}


def divides(ranks: int, local_ranks: int) -> bool:
    """Whether pods of so many local ranks hold a replica's ranks in whole blocks, or whole replicas."""
    return ranks % local_ranks == 0 or local_ranks % ranks == 0


def pods_per_replica(ranks: int, local_ranks: int) -> int:
    """How many pods one replica is spread over; 1 too where a pod holds several replicas."""
    return max(1, ranks // local_ranks)


def seat_uid(pod_uid: str, local_rank: int) -> str:
    """How this life of a seat is called: UID, UID.1, UID.2 and so on. A cluster's own UIDs have no dot."""
    return f"{pod_uid}.{local_rank}" if local_rank else pod_uid


def seat_name(pod: str, local_rank: int, count: int) -> str:
    """What people read: POD where it has one seat, else POD/0, POD/1 and so on."""
    return f"{pod}/{local_rank}" if count > 1 else pod


def pod_of(uid: str) -> str:
    """UID of the pod that a seat is in."""
    found = _SEAT_UID.fullmatch(uid)
    return found["pod"] if found else uid


def pod_name(name: str) -> str:
    """Name of the pod that a seat is in."""
    return name.partition("/")[0]


def local_rank_of(uid: str) -> int:
    """Which seat of its pod it is."""
    found = _SEAT_UID.fullmatch(uid)
    return int(found["local_rank"]) if found else 0


def seat_folder(arena: Path, local_rank: int, count: int) -> Path:
    """Where a seat's arena lies in the pod's. A single seat has all of it, as in pods of older builds."""
    return arena / str(local_rank) if count > 1 else arena
