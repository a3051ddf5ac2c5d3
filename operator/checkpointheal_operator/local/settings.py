"""What did the user of `checkpointheal local` ask for?

Must not know the command line: the demo and tests fill the same form. Python is started with `-P`: a file beside the
user's script must not pass for a module of ours or of the standard library.
"""

import os
import sys
from pathlib import Path

from pydantic import Field

from checkpointheal.contract.base import Count, Frozen, Seconds
from checkpointheal_operator.core.view import Policy
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
    logs: Path = Field(description="Folder of the logs; made where it is missing.")
    slots: int = Field(default=2, ge=2, description="Generations that an arena holds.")
    trainer_restarts: Count = Field(default=5, description="Failures that `checkpointheal run` answers in place.")
    warm: bool = Field(default=True, description="Starts are forked from a Python that has imported already.")
    pod_restarts: Limits = Field(default=Limits(), description="What follows when `run` itself gives up.")
    environment: dict[str, str] = Field(
        default_factory=lambda: dict(os.environ), description="What trainers and agents inherit."
    )
    report_every: Seconds = Field(default=1.0, description="Seconds between two reports of an agent that has no news.")
    grace: Seconds = Field(default=10.0, description="Seconds that a trainer has to end after SIGTERM.")
