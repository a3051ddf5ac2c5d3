"""The one next action, in the words that `apply` carries out and logs print.

A decision is complete: what it writes down follows from it and the view alone (`records.advance`).
"""

from collections.abc import Mapping

from pydantic import Field

from checkpointheal.contract.base import Frozen, Seconds, Step
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.orders import Assignment, EpochOrder
from checkpointheal.contract.report import TransferFacts
from checkpointheal_operator.core.epoch_record import EpochMember, LeftOut
from checkpointheal_operator.core.heal_record import Refusal
from checkpointheal_operator.core.reasons import Cause, Reason


class Nothing(Frozen):
    """All is as it should be; only a new fact can change that."""

    reason: Reason
    message: str

    def __str__(self) -> str:
        return f"Nothing ({self.reason})"


class Wait(Frozen):
    """Something is amiss and nothing can be done about it yet."""

    until: float | None = Field(description="When time alone may change the answer; None: only a new fact can.")
    reason: Reason
    message: str
    asks: tuple[tuple[str, str], ...] = Field(
        default=(), description="Pod UIDs of possible donors, and the question that each is to answer meanwhile."
    )

    def __str__(self) -> str:
        return f"Wait ({self.reason})" if self.until is None else f"Wait until {self.until:g} ({self.reason})"


class OpenHeal(Frozen):
    """Write down that this member is to be healed."""

    name: str
    recipient: MemberId
    pod_uid: str
    agent: str
    request: int
    incarnation: str
    cause: Cause
    crash_step: int | None
    message: str

    def __str__(self) -> str:
        return f"OpenHeal {self.recipient} ({self.cause})"


class Assign(Frozen):
    """Give an open heal its donors, or other donors than before."""

    heal: str
    assignment: Assignment
    failed: tuple[str, ...] = Field(description="Pod UIDs of the donors that failed this heal, the last one included.")
    refusals: tuple[Refusal, ...] = Field(description="Why everybody else is not among the donors.")
    reason: Reason
    message: str

    def __str__(self) -> str:
        to, donors = self.assignment.recipient.member, ",".join(str(d.member) for d in self.assignment.donors)
        return (
            f"Assign {to} from {donors} step={self.assignment.step} attempt={self.assignment.attempt} ({self.reason})"
        )


class BeginEpoch(Frozen):
    """Everybody waits and holds what it needs, or the whole job falls back: let the trainers go on."""

    order: EpochOrder
    members: tuple[EpochMember, ...] = Field(description="Whom it is for, each with its rung and its private donors.")
    left_out: tuple[LeftOut, ...] = Field(default=(), description="Who has a place, and is not in it.")
    apart: tuple[int, ...] = Field(default=(), description="Coordinates of which each member goes on with its own.")
    reason: Reason
    message: str

    def __str__(self) -> str:
        rungs = " ".join(f"{each.member}:{each.rung}" for each in self.members)
        at = "no step" if self.order.step is None else f"step={self.order.step}"
        without = "".join(f" without={each.member}" for each in self.left_out)
        return f"BeginEpoch {self.order.epoch} {at} {rungs}{without} ({self.reason})"


class LeaveEpoch(Frozen):
    """Nobody is lost, somebody is back: let the others end their epoch together, each at the same commit."""

    epoch: int
    back: tuple[MemberId, ...]
    reason: Reason
    message: str

    def __str__(self) -> str:
        return f"LeaveEpoch {self.epoch} ({self.reason})"


class EndEpoch(Frozen):
    """Somebody is lost: end the collectives of the others. Also orders trainers killed that stand still."""

    epoch: int
    lost: tuple[MemberId, ...]
    restart_trainer: tuple[str, ...] = Field(default=(), description="Incarnations of trainers to be killed.")
    sound: Step | None = Field(default=None, description="Where a probation failed: no later step is worth restoring.")
    anew: bool = Field(default=False, description="Another run has begun: what is remembered is of the one before.")
    reason: Reason
    message: str

    def __str__(self) -> str:
        restarts = "".join(f" restart={each}" for each in self.restart_trainer)
        return f"EndEpoch {self.epoch}{restarts} ({self.reason})"


class Restart(Frozen):
    """Who was left out stands still: its trainer is to be killed, so that it can come in. The others train on."""

    epoch: int
    restart_trainer: tuple[str, ...] = Field(min_length=1, description="Incarnations of trainers to be killed.")
    reason: Reason
    message: str

    def __str__(self) -> str:
        return f"Restart {' '.join(self.restart_trainer)} in epoch {self.epoch} ({self.reason})"


class Conclude(Frozen):
    """The verdict on a heal."""

    heal: str
    recipient: MemberId
    healed: bool = Field(description="The status of its condition Healed.")
    transfer: TransferFacts | None = None
    applied_seconds: Seconds | None = None
    reason: Reason
    message: str

    def __str__(self) -> str:
        return f"Conclude {self.recipient} Healed={self.healed} ({self.reason})"


Decision = Nothing | Wait | OpenHeal | Assign | BeginEpoch | LeaveEpoch | EndEpoch | Restart | Conclude


def asked_by(decision: Decision | None) -> Mapping[str, str]:
    """The question that each pod's agent is to answer, by its UID."""
    return dict(decision.asks) if isinstance(decision, Wait) else {}


def held_by(decision: Decision | None) -> str:
    """Why the job waits for a person's word, and what lets it go on; empty where it does not."""
    return decision.message if isinstance(decision, Wait) and decision.reason == Reason.HELD else ""
