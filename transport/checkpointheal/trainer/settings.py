"""What does this trainer's environment say about its place and its agent?

Of a pod of several seats it says which one is this trainer's, by `LOCAL_RANK`; its arena and its member follow.

Must not know torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkpointheal.contract.base import Count, Frozen, Seconds
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.seats import Seats, seat_folder
from checkpointheal.errors import Misuse, NoLocalRank


class TrainerSettings(Frozen):
    """All that the trainer library is told from outside."""

    arena: Path | None = None
    job: str = "job"
    member: MemberId = MemberId(replica=0)
    incarnation: str = ""
    restore_budget: Seconds = 240.0
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

        NoLocalRank where the pod has several seats, and `LOCAL_RANK` names none of them. What the program itself has
        `said` goes with them.
        """
        arena = environment.get("CHECKPOINTHEAL_ARENA")
        port = environment.get("MASTER_PORT", "")
        try:
            seats = Seats.told(environment)
            seat = _seat(environment, seats.count)
            return cls(
                arena=seat_folder(Path(arena), seat, seats.count) if arena else None,
                job=environment.get("CHECKPOINTHEAL_JOB", "job"),
                member=seats.member(seat),
                incarnation=_incarnation(environment),
                restore_budget=float(environment.get("CHECKPOINTHEAL_RESTORE_BUDGET", "240")),
                store_ports=frozenset({int(port)} if port.isdecimal() else ()),
                **said,
            )
        except ValueError as error:
            raise Misuse(f"a CHECKPOINTHEAL_ variable cannot be read: {error}") from error


def _seat(environment: Mapping[str, str], count: int) -> int:
    """A single trainer sits in the only seat, whatever a launcher calls it."""
    if count == 1:
        return 0
    said = environment.get("LOCAL_RANK")
    if said is None:
        raise NoLocalRank(
            f"this pod has {count} local ranks, and LOCAL_RANK is not set: start its trainers with torchrun or with "
            f"`checkpointheal run --nproc-per-node {count}`"
        )
    if not (said.isascii() and said.isdecimal()) or int(said) >= count:
        raise NoLocalRank(
            f"LOCAL_RANK is {said!r}, and this pod has local ranks 0 to {count - 1}: start as many trainers as the "
            f"annotation checkpointheal.dev/local-ranks says, or mend the annotation"
        )
    return int(said)


def _incarnation(environment: Mapping[str, str]) -> str:
    """The name of this life; empty where nobody gave it one of its own.

    torchrun starts one process after the other within a single life of what `run` has started, which is torchrun.
    """
    return "" if "TORCHELASTIC_RUN_ID" in environment else environment.get("CHECKPOINTHEAL_INCARNATION", "")
