"""What is said where a step was not kept, and how often?

Once per reason in the log, once until a step is kept again to the agent: whatever is wrong, training goes on. Must not
know how a step is kept.
"""

import contextlib
import logging
from collections.abc import Iterator

from checkpointheal.contract.trainer import UNKEPT_SINCE, Refused, Reserved, Unkept
from checkpointheal.errors import (
    AlreadyAttached,
    ArenaDoesNotFit,
    CheckpointHealError,
    Misuse,
    TargetInvalid,
    UnknownClass,
)
from checkpointheal.trainer.line import Line

log = logging.getLogger("checkpointheal")

SKIPPED, WRITTEN = "GenerationSkipped", "WrittenWhileCopied"


class Telling:
    """Tells the log and the agent of one trainer."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._said: set[str] = set()
        self._unkept = ""

    @contextlib.contextmanager
    def of_errors(self, *, is_first: bool) -> Iterator[None]:
        """Within it, what keeps a step from being kept is told instead of raised.

        But for Misuse in the first commit, where the program must be mended, and TargetInvalid in any: this is no state
        to keep.
        """
        try:
            yield
        except TargetInvalid:
            raise
        except Misuse as error:
            if is_first and not isinstance(error, AlreadyAttached):
                raise
            self.not_kept(error.reason, str(error))
        except ArenaDoesNotFit as error:
            self.not_kept(error.reason, str(error), error.arena_bytes)
        except (CheckpointHealError, OSError) as error:
            reason = error.reason if isinstance(error, CheckpointHealError) else type(error).__name__
            self.not_kept(reason, str(error))

    def not_kept(self, reason: str, message: str, arena_bytes: int | None = None) -> None:
        """The agent is told too, once until a step is kept again; one that does not know the word would hang up."""
        self.once(reason, message if reason == SKIPPED else f"not protected: {message}")
        answer = self._line.latest("reserve")
        if reason != self._unkept and isinstance(answer, Reserved | Refused) and answer.protocol >= UNKEPT_SINCE:
            self._unkept = reason
            self._line.say(Unkept(reason=reason, message=message, arena_bytes=arena_bytes), again="unkept")

    def kept(self) -> None:
        """A step is kept again."""
        self._unkept = ""
        self._line.unsay("unkept")

    def new_class(self, error: UnknownClass, path: str, why: str) -> None:
        """To the log, of an object that whoever takes this trainer's place may not know; `path` as the user has it."""
        short = error.name.rpartition(".")[2]
        helps = f"call checkpointheal.register_class({short}) before restore()"
        self.once(f"{error.reason} {path}", f"{path} is a {error.name}, {why}; {helps}")

    def once(self, reason: str, sentence: str) -> None:
        """To the log alone."""
        if reason not in self._said:
            self._said.add(reason)
            log.warning("checkpointheal: %s", sentence)
