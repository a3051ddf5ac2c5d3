"""Whose private parts does this agent keep, and for how long?

A buddy keeps each restorable step of another member: the latest few, and what the operator named. In memory only: a
keep that dies with its pod is why a member has two buddies. Must not know HTTP.
"""

from collections import defaultdict
from collections.abc import Collection

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import PrivateHeld

LATEST = 3
"""Two restorable steps, and one that is still being handed over."""


class Keep:
    """Private parts of other members, by member and step."""

    def __init__(self) -> None:
        self._parts: defaultdict[MemberId, dict[int, bytes]] = defaultdict(dict)

    def put(self, member: MemberId, step: int, blob: bytes, named: Collection[int]) -> None:
        """Keep one; drop the oldest that are neither named nor among the latest."""
        parts = self._parts[member]
        parts[step] = blob
        for old in sorted(parts)[:-LATEST]:
            if old not in named:
                del parts[old]

    def get(self, member: MemberId, step: int) -> bytes | None:
        """The part, or None."""
        return self._parts.get(member, {}).get(step)

    def forget_after(self, step: int | None) -> None:
        """The job goes on from this step (None: from nothing): later parts belong to a future that will not come."""
        for parts in self._parts.values():
            for later in [kept for kept in parts if step is None or kept > step]:
                del parts[later]

    def held(self) -> tuple[PrivateHeld, ...]:
        """What is kept, for the report."""
        return tuple(
            PrivateHeld(member=member, steps=tuple(sorted(parts)))
            for member, parts in sorted(self._parts.items())
            if parts
        )
