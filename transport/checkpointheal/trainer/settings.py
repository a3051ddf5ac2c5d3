"""What does this trainer's environment say about its place and its agent?

Must not know torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkpointheal.contract.base import Count, Frozen, Seconds
from checkpointheal.contract.identity import MemberId
from checkpointheal.errors import Misuse


class TrainerSettings(Frozen):
    """All that the trainer library is told from outside."""

    arena: Path | None = None
    job: str = "job"
    member: MemberId = MemberId(replica=0)
    incarnation: str = ""
    restore_budget: Seconds = 180.0
    reserve_budget: Seconds = 30.0
    private_limit: Count = 1 << 20
    background: bool = False
    """Copy beside the training loop what nothing but an update writes."""
    on_demand: bool = False
    """Copy nothing until somebody needs it."""
    store_ports: frozenset[int] = frozenset()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **said: Any) -> "TrainerSettings":
        """Read the variables that injection, or `checkpointheal local`, sets. Raises Misuse that names a bad one.

        What the program itself has `said` goes with them.
        """
        arena = environment.get("CHECKPOINTHEAL_ARENA")
        port = environment.get("MASTER_PORT", "")
        try:
            return cls(
                arena=Path(arena) if arena else None,
                job=environment.get("CHECKPOINTHEAL_JOB", "job"),
                member=MemberId.parse(environment.get("CHECKPOINTHEAL_MEMBER", "0/0")),
                incarnation=_incarnation(environment),
                restore_budget=float(environment.get("CHECKPOINTHEAL_RESTORE_BUDGET", "180")),
                store_ports=frozenset({int(port)} if port.isdecimal() else ()),
                **said,
            )
        except ValueError as error:
            raise Misuse(f"a CHECKPOINTHEAL_ variable cannot be read: {error}") from error


def _incarnation(environment: Mapping[str, str]) -> str:
    """The name of this life; empty where nobody gave it one of its own.

    torchrun starts one process after the other within a single life of what `run` has started, which is torchrun.
    """
    return "" if "TORCHELASTIC_RUN_ID" in environment else environment.get("CHECKPOINTHEAL_INCARNATION", "")
