"""How does a line of a log look, and by which names does it say what it is about?

Text for people, or one JSON object a line for machines, by CHECKPOINTHEAL_LOG. The same names in agent, operator and
webhook, so that one search finds all that was ever said of a heal. Must not know who logs, or what.
"""

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack, cast

from checkpointheal.contract.base import shown

VARIABLE = "CHECKPOINTHEAL_LOG"
TEXT, JSON = "text", "json"
log = logging.getLogger("checkpointheal")


class Facts(TypedDict, total=False):
    """What a line may be about. Numbers stay numbers; members are told as replica/rank."""

    namespace: str
    policy: str
    job: str
    member: object
    pod: str
    heal: str
    attempt: int | None
    epoch: int | None
    reason: str


def about(**facts: Unpack[Facts]) -> dict[str, Facts]:
    """For `extra=` of a logging call. What is None or empty is left out."""
    return {"about": _said(facts)}


_SPEAKER: ContextVar["Facts"] = ContextVar("speaker")


def speaking(**facts: Unpack[Facts]) -> None:
    """Whoever runs in this context, and in those that are made in it, is this one of several in its process."""
    _SPEAKER.set(facts)


def begin(environment: Mapping[str, str], **always: Unpack[Facts]) -> None:
    """Log to standard error from now on, each line for machines with what is `always` so.

    A word that means nothing is told and text is written: a log must not keep anything from starting.
    """
    wanted = environment.get(VARIABLE) or TEXT
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines(always) if wanted == JSON else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    if wanted not in (TEXT, JSON):
        log.warning("%s is %r, not %s or %s: text is written", VARIABLE, wanted, TEXT, JSON)


class TextLines(logging.Formatter):
    """For people: what a line is about stands at its end. Whatever is quoted, it stays one line above its traceback."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 the base class's name
        """The line without a traceback."""
        told = " ".join(f"{key}={value}" for key, value in _facts(record, Facts()).items())
        return shown(super().formatMessage(record) + (f" [{told}]" if told else ""))

    def formatException(self, ei: Any) -> str:  # noqa: N802 the base class's name
        """A traceback is many lines, and quotes what others wrote: none of them begins as a line of the log does."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 the base class's name
        """The same of where it was called."""
        return _indented(super().formatStack(stack_info))


class JsonLines(logging.Formatter):
    """For machines: an object a line, a traceback in it."""

    def __init__(self, always: Facts) -> None:
        super().__init__()
        self._always = always

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        seconds = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        told: dict[str, object] = {
            "time": f"{seconds}.{int(record.created % 1 * 1e3):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record, self._always),
        }
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        line = json.dumps(told, ensure_ascii=False, default=str)
        return line if line.isprintable() else "".join(map(_escaped, line))


def _escaped(character: str) -> str:
    """As JSON writes it: whoever reads the line gets it back."""
    return character if character.isprintable() else json.dumps(character)[1:-1]


def _indented(text: str) -> str:
    return "\n".join(f"  {shown(each)}" for each in text.split("\n"))


def _facts(record: logging.LogRecord, always: Facts) -> dict[str, object]:
    return {**_said(always), **_said(_SPEAKER.get(Facts())), **getattr(record, "about", {})}


def _said(facts: Facts) -> Facts:
    kept: Any = {key: value for key, value in facts.items() if value not in (None, "")}
    return cast("Facts", kept)
