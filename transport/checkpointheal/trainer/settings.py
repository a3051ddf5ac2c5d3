"""What does this trainer's environment say about its place and its agent?

Must not know torch.
"""

from collections.abc import Mapping
from pathlib import Path

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
    store_ports: frozenset[int] = frozenset()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], private_limit: int) -> "TrainerSettings":
        """Read the variables that injection, or `checkpointheal local`, sets. Raises Misuse that names a bad one."""
        arena = environment.get("CHECKPOINTHEAL_ARENA")
        port = environment.get("MASTER_PORT", "")
        try:
            return cls(
                arena=Path(arena) if arena else None,
                job=environment.get("CHECKPOINTHEAL_JOB", "job"),
                member=MemberId.parse(environment.get("CHECKPOINTHEAL_MEMBER", "0/0")),
                incarnation=_incarnation(environment),
                restore_budget=float(environment.get("CHECKPOINTHEAL_RESTORE_BUDGET", "180")),
                private_limit=private_limit,
                store_ports=frozenset({int(port)} if port.isdecimal() else ()),
            )
        except ValueError as error:
            raise Misuse(f"a CHECKPOINTHEAL_ variable cannot be read: {error}") from error


def _incarnation(environment: Mapping[str, str]) -> str:
    """The name of this life; empty where nobody gave it one of its own.

    torchrun starts one process after the other within a single life of what `run` has started, which is torchrun.
    """
    return "" if "TORCHELASTIC_RUN_ID" in environment else environment.get("CHECKPOINTHEAL_INCARNATION", "")
