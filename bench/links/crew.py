"""Who takes part, and how are they told? Forked processes, one for each rank, which do what they are told in JSON.

Each is told twice, first to prepare and then to go, so that all begin at one instant. They end with this process,
however it ends. Must not know what they do.
"""

import contextlib
import json
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bench.links.network import Link, NoNetwork, leave_for_own, wire
from bench.machine import end_with_parent

Told = dict[str, Any]
Prepare = Callable[[Told], Callable[[], Told]]
"""Given what is told, prepares; what it returns does it, and returns what is answered."""
SECONDS = 120.0
_BEFORE_OTHERS = -10
"""Who has a network of its own is root: what else runs on this machine disturbs less, and all alike."""


class Member:
    """One process, as its conductor sees it."""

    def __init__(self, rank: int, prepare: Callable[[], Prepare], linked: bool) -> None:
        self.rank = rank
        ours, theirs = socket.socketpair()
        context = multiprocessing.get_context("fork")
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, ours, prepare, linked))
        self.process.start()
        theirs.close()
        ours.settimeout(SECONDS)
        self._socket, self._lines = ours, ours.makefile("rb")

    def say(self, told: Told) -> None:
        """Something to prepare, or nothing: go."""
        self._socket.sendall(json.dumps(told).encode() + b"\n")

    def hear(self) -> Told:
        """The answer. Raises NoNetwork, or RuntimeError where the process has ended."""
        line = self._lines.readline()
        if not line:
            raise RuntimeError(f"process {self.process.pid} of the bench has ended: its error is above")
        answer: Told = json.loads(line)
        if "lacking" in answer:
            raise NoNetwork(answer["lacking"])
        return answer

    def dismiss(self) -> None:
        """It ends, soon or at once."""
        self._lines.close()
        self._socket.close()
        self.process.join(2)
        self.process.kill()
        self.process.join()


@contextlib.contextmanager
def crew(prepares: Sequence[Callable[[], Prepare]], links: Sequence[Link] = ()) -> Iterator[list[Member]]:
    """A process for each, linked as told; without links all are on this machine's loop-back. Raises NoNetwork."""
    with contextlib.ExitStack() as stack:
        members: list[Member] = []
        for rank, prepare in enumerate((_bridge, *prepares) if links else prepares, -1 if links else 0):
            members.append(Member(rank, prepare, linked=bool(links)))
            stack.callback(members[-1].dismiss)
        for member in members:
            member.hear()
        if links:
            bridge, *hosts = (member.process.pid or 0 for member in members)
            wire(bridge, hosts, links)
        for member in members:
            member.say({})
        for member in members:
            member.hear()
        yield members[-len(prepares) :]


def together(told: Mapping[Member, Told]) -> tuple[float, dict[Member, Told]]:
    """All prepare, then all go; the instant of that, on the monotonic clock, and what each answers."""
    for member, words in told.items():
        member.say(words)
    for member in told:
        member.hear()
    began = time.monotonic()
    for member in told:
        member.say({})
    return began, {member: member.hear() for member in told}


def _bridge() -> Prepare:
    """Only its network is needed."""
    return lambda told: lambda: told


def _serve(words: socket.socket, others: socket.socket, begin: Callable[[], Prepare], linked: bool) -> None:
    end_with_parent()
    others.close()
    with words.makefile("rwb", buffering=0) as lines:
        try:
            if linked:
                leave_for_own()
                _go_before_others()
        except NoNetwork as error:
            _answer(lines, {"lacking": str(error)})
            return
        _answer(lines, {})
        if not lines.readline():
            return
        prepare = begin()
        _answer(lines, {})
        while line := lines.readline():
            act = prepare(json.loads(line))
            _answer(lines, {})
            if not lines.readline():
                return
            _answer(lines, act())


def _go_before_others() -> None:
    """Also where Linux shares the processor among sessions, not processes."""
    os.setsid()
    os.nice(_BEFORE_OTHERS)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_BEFORE_OTHERS))


def _answer(lines: Any, told: Told) -> None:
    lines.write(json.dumps(told).encode() + b"\n")
