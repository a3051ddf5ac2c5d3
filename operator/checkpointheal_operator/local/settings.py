"""What did the user of `checkpointheal local` ask for?

Must not know the command line: the demo and tests fill the same form. Python is started with `-P`: a file beside the
user's script must not pass for a module of ours or of the standard library.
"""

import os
import sys
from pathlib import Path

from pydantic import Field, model_validator

from checkpointheal.contract.base import Count, Frozen, Seconds
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.seats import LocalRanks, Seats, pods_per_replica
from checkpointheal_operator.core.policy import MOST_MEMBERS, Policy
from checkpointheal_operator.local.restarts import Limits


class LocalSettings(Frozen):
    """One job on this machine."""

    job: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$", description="Part of folder names.")
    command: tuple[str, ...] = Field(
        min_length=1, description="The trainer and its arguments, the same for every member."
    )
    agent: tuple[str, ...] = Field(
        default=(sys.executable, "-P", "-m", "checkpointheal.agent"), min_length=1, description="What an agent is."
    )
    policy: Policy
    local_ranks: LocalRanks = Field(default=1, description="Members of one pod, whose loss takes all of them.")
    launcher: bool = Field(default=False, description="The command starts a pod's trainers itself, as torchrun does.")
    logs: Path = Field(description="Folder of the logs; made where it is missing.")
    slots: int = Field(default=2, ge=2, description="Generations that an arena holds.")
    trainer_restarts: Count = Field(default=5, description="Failures that `checkpointheal run` answers in place.")
    warm: bool = Field(default=True, description="Starts are forked from a Python that has imported already.")
    pod_restarts: Limits = Field(default=Limits(), description="What follows when `run` itself is killed.")
    environment: dict[str, str] = Field(
        default_factory=lambda: dict(os.environ), description="What trainers and agents inherit."
    )
    report_every: Seconds = Field(default=1.0, description="Seconds between two reports of an agent that has no news.")
    grace: Seconds = Field(default=10.0, description="Seconds that a trainer has to end after SIGTERM.")

    @model_validator(mode="after")
    def _fills_its_pods(self) -> "LocalSettings":
        if self.policy.replicas * self.policy.ranks % self.local_ranks:
            raise ValueError(
                f"{self.policy.replicas} replicas of {self.policy.ranks} ranks do not fill pods of {self.local_ranks}"
            )
        if self.policy.is_too_large:
            asked = self.policy.replicas * self.policy.ranks
            raise ValueError(f"{asked} members are asked for, replicas times ranks; a job has {MOST_MEMBERS} at most")
        least = self.policy.min_replicas
        if least is not None and least > self.policy.replicas:
            raise ValueError(
                f"{least} replicas can not go on without the others where there are {self.policy.replicas}"
            )
        self.pods()
        return self

    def pods(self) -> tuple[Seats, ...]:
        """The seats of every pod, in order."""
        ranks, count = self.policy.ranks, self.local_ranks
        blocks = pods_per_replica(ranks, count)
        places = (divmod(ordinal, blocks) for ordinal in range(self.policy.replicas * ranks // count))
        return tuple(
            Seats(pod=MemberId(replica=replica, rank=block), count=count, ranks=ranks) for replica, block in places
        )
