"""What does injection answer? A patch with a report, or one reason why there is none.

Words only. Must not know how a pod is read or changed.
"""

from typing import Literal

from pydantic import Field, JsonValue

from checkpointheal.contract.base import Count, Frozen, Sentence
from checkpointheal_operator.core.reasons import Reason


class Operation(Frozen):
    """One step of a JSON patch. Always `add`, which puts a value where there is none and replaces it where there is."""

    op: Literal["add"] = "add"
    path: str
    value: JsonValue


class Note(Frozen):
    """Something that the pod's owner should know though it was injected."""

    reason: Reason
    message: Sentence


class Report(Frozen):
    """What the pod is now, for people and for the operator."""

    reason: Reason = Field(description="`Injected`, `AlreadyInjected` or `InjectionMended`.")
    message: Sentence
    job: str
    member: str = Field(
        description="`replica/rank`, counted in pods; variables of the pod's own where a template is rendered."
    )
    trainer: str = Field(description="Name of the trainer's container.")
    user: Count = Field(description="Whom the agent runs as.")
    port: Count = Field(description="Where it listens; 0: any free port.")
    arena_bytes: Count
    guaranteed: bool = Field(description="Whether the pod's quality of service is Guaranteed, before and after.")
    notes: tuple[Note, ...] = ()


class Injection(Frozen):
    """Change the pod like this; an empty patch where all is there already."""

    patch: tuple[Operation, ...]
    report: Report

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to say to whoever makes the pod."""
        return tuple(f"checkpointheal: {note.reason}: {note.message}" for note in self.report.notes)


class NotInjected(Frozen):
    """Leave the pod as it is."""

    reason: Reason
    message: Sentence

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to say to whoever makes the pod; nothing where nobody asked for an injection."""
        if self.reason in (Reason.NOT_OPTED_IN, Reason.MIRROR_POD):
            return ()
        return (f"checkpointheal: not injected: {self.reason}: {self.message}",)


def refuse(reason: Reason, **names: object) -> NotInjected:
    """The refusal with its sentence."""
    return NotInjected(reason=reason, message=reason.tell(**names))


def note(reason: Reason, **names: object) -> Note:
    """The note with its sentence."""
    return Note(reason=reason, message=reason.tell(**names))
