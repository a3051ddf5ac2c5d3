"""Did two members ever hold the same bytes of a step, and did they ever hold different ones?

Asked of what agents have read, whoever believes it. Different bytes count only where they must be the same: sealed in
one epoch, by one build. Must not know what follows.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import AgentReport, Generation, Passed

Bytes = tuple[str | None, str]
"""A schema's digest and a state's."""


class _Read(NamedTuple):
    member: MemberId
    step: int
    epoch: int | None
    build: str
    held: Bytes


def alike(reports: Iterable[AgentReport], epoch: int | None = None) -> bool | None:
    """True where two of these members held one step alike; False where all that can be compared differs; else None.

    Of an `epoch` alone, or of all.
    """
    held: dict[tuple[int, Bytes], MemberId] = {}
    of_epoch: dict[tuple[int, int | None, str], _Read] = {}
    apart = False
    for read in (read for report in reports for read in _all_read(report) if epoch in (None, read.epoch)):
        if held.setdefault((read.step, read.held), read.member) != read.member:
            return True
        first = of_epoch.setdefault((read.step, read.epoch, read.build), read)
        apart = apart or (read.epoch is not None and first.member != read.member)
    return False if apart else None


class Others:
    """What members have read, to find what each of them had in common with another: asked for each that is lost."""

    def __init__(self, reports: Iterable[AgentReport]) -> None:
        self._holders: defaultdict[tuple[int, Bytes], set[MemberId]] = defaultdict(set)
        self._readers: defaultdict[tuple[int, int | None, str], set[MemberId]] = defaultdict(set)
        for read in (read for report in reports for read in _all_read(report)):
            self._holders[read.step, read.held].add(read.member)
            self._readers[read.step, read.epoch, read.build].add(read.member)

    def like(self, report: AgentReport) -> bool | None:
        """Whether it ever held a step as another did: what others have in common says nothing of it."""
        apart = False
        for read in _all_read(report):
            if _is_anothers(read, self._holders.get((read.step, read.held), ())):
                return True
            readers = self._readers.get((read.step, read.epoch, read.build), ())
            apart = apart or (read.epoch is not None and _is_anothers(read, readers))
        return False if apart else None


def _is_anothers(read: _Read, members: Iterable[MemberId]) -> bool:
    return any(each != read.member for each in members)


def _all_read(report: AgentReport) -> Iterator[_Read]:
    """What it holds now, and of the epoch's first steps what it held."""
    known: tuple[Passed | Generation, ...] = (*report.passed, *report.generations)
    for each in known:
        if each.state_digest is not None:
            held = each.schema_digest, each.state_digest
            yield _Read(report.member, each.step, each.epoch, report.build, held)
