"""How do torch's process groups find their peers in an epoch?

By a store of torch's kind whose words go to this trainer's agent, and from there to the agent that holds the
rendezvous. The end of the epoch ends every wait here. Must not know process groups.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Literal

from torch.distributed import Store  # type: ignore[attr-defined]

from checkpointheal.contract.trainer import LINE_LIMIT, StoreAsk
from checkpointheal.errors import RendezvousFailed
from checkpointheal.trainer.line import Line

PATIENCE = timedelta(minutes=5)
"""How long a word waits for its answer, where torch names no timeout."""
LONGEST = LINE_LIMIT // 2
"""Bytes of a value: a line carries it in base64, with its key."""
_NUMBERS = itertools.count(1)
"""Never again in the life of this process: an answer that comes late is nobody else's."""


class AgentStore(Store):
    """The store of one epoch. Raises RendezvousFailed, which reaches torch as a failed store."""

    def __init__(self, line: Line, epoch: int, is_over: Callable[[], bool]) -> None:
        super().__init__()
        self._line, self._epoch, self._is_over = line, epoch, is_over
        self._waited_for: dict[str, bytes] = {}

    def set(self, key: str, value: str | bytes) -> None:
        """Put it there for all."""
        self._ask("set", key, value.encode() if isinstance(value, str) else bytes(value))

    def get(self, key: str) -> bytes:
        """The value, once somebody has put it there."""
        known = self._waited_for.pop(key, None)
        return self._get(key, PATIENCE) if known is None else known

    def wait(self, keys: Sequence[str], timeout: timedelta = PATIENCE) -> None:
        """Until all are there. What was waited for is nearly always read next, and kept for that."""
        for key in keys:
            self._waited_for[key] = self._get(key, timeout)

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all are there now."""
        return all(self._ask("check", key) is not None for key in keys)

    def add(self, key: str, value: int) -> int:
        """Count up; the sum."""
        return int(self._ask("add", key, b"%d" % value) or b"0")

    def delete_key(self, key: str) -> bool:
        """Nothing is ever deleted: the epoch's end does that."""
        return False

    def _get(self, key: str, timeout: timedelta) -> bytes:
        value = self._ask("get", key, timeout=timeout)
        if value is None:
            raise RendezvousFailed(f"epoch {self._epoch}: nobody has come with {key}")
        return value

    def _ask(
        self, do: Literal["set", "get", "add", "check"], key: str, value: bytes = b"", timeout: timedelta = PATIENCE
    ) -> bytes | None:
        if len(value) > LONGEST:
            raise RendezvousFailed(
                f"epoch {self._epoch}: {key} has {len(value)} bytes, and a value of the rendezvous {LONGEST} at most: "
                "what is larger is sent through the group"
            )
        ask = StoreAsk(number=next(_NUMBERS), epoch=self._epoch, do=do, key=key, value=value)
        begun = time.monotonic()
        said = self._line.ask_store(ask, self._is_over, timeout.total_seconds())
        if said is None:
            why = "it is over" if self._is_over() else f"no answer within {time.monotonic() - begun:.0f} s"
            raise RendezvousFailed(f"epoch {self._epoch}: {why}, when asked to {do} {key}")
        if said.reason:
            raise RendezvousFailed(f"epoch {self._epoch}: {said.reason}: {said.message}")
        return said.value
