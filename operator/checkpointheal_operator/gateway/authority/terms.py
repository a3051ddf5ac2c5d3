"""When is a root made, from when does it sign, until when is it believed; and how long does what it signs live?

Arithmetic over moments. A new root is believed before it signs: agents learn it when they renew, over the old trust. So
nobody ever meets a certificate whose root it cannot know. Must not know keys, certificates or clocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

HOUR, DAY = 3600.0, 86400.0


class Span(NamedTuple):
    """Seconds since 1970 between which something counts."""

    made: float
    until: float


@dataclass(frozen=True)
class Terms:
    """Lives in seconds. There is no revocation: what is stolen is worth something for as long as it lives."""

    leaf: float = DAY
    server: float = 30 * DAY
    """Of a certificate that another process is handed: it must outlast an operator that is away for a while."""
    root: float = 730 * DAY
    skew: float = HOUR
    """How far clocks may be apart: everything counts from this much before it is made."""

    @property
    def overlap(self) -> float:
        """This long after a root begins to count, whoever can still show a certificate has learnt of it."""
        return self.leaf + 2 * self.skew

    @property
    def outlasts_a_change(self) -> bool:
        """Whether a root lives until its successor stands alone. The successor is made half-way."""
        return self.root / 2 > 2 * self.overlap


DEFAULT = Terms()


def new_root_due(roots: Sequence[Span], now: float, terms: Terms) -> bool:
    """Once each that lives is half-way through: a pod that started a moment ago and knows only one has as long.

    One that was made under shorter terms than now's has the life that it was given, and may begin to count later than
    one that was made after it. One that does not count yet, as where a clock was ahead, or no more is no root that
    could sign now.
    """
    return all(_is_old(roots[index], now, terms) for index in _living(roots, now))


def voucher(roots: Sequence[Span], now: float, terms: Terms) -> int | None:
    """Index of the root that speaks for a new one: the newest that lives, else the first that will; None: all are over.

    A root that will live is believed by pods that were made while a clock was ahead, and where this clock is behind.
    """
    if living := _living(roots, now):
        return max(living, key=lambda index: roots[index].made)
    coming = [index for index, root in enumerate(roots) if now < root.made < now + terms.root]
    return min(coming, key=lambda index: roots[index].made, default=None)


def signer(roots: Sequence[Span], now: float, terms: Terms) -> int:
    """Index of the root that signs: the newest that everybody can know. `roots` is not empty.

    Where none is that old, as under terms that have just grown, the oldest signs that is not half-way through its life:
    what is signed shortly before its root's end ends with it, and a server may not be handed the next one in time.
    """
    living = _living(roots, now)
    known = [index for index in living if roots[index].made + terms.overlap <= now]
    if known:
        return max(known, key=lambda index: roots[index].made)
    young = [index for index in living if not _is_old(roots[index], now, terms)]
    return min(young or living or range(len(roots)), key=lambda index: roots[index].made)


def kept(roots: Sequence[Span], now: float, terms: Terms) -> tuple[int, ...]:
    """Indices of the roots that are not thrown away: those that are believed, and those that a wrong clock calls over.

    The signing one is always among them.
    """
    signing = signer(roots, now, terms)
    left = roots[signing].made + 2 * terms.overlap
    return tuple(
        index for index, root in enumerate(roots) if index == signing or root.made >= roots[signing].made or now < left
    )


def believed(roots: Sequence[Span], now: float, terms: Terms) -> tuple[int, ...]:
    """Indices of the roots under which a living certificate stands, or will. The signing one is always among them."""
    signing = signer(roots, now, terms)
    return tuple(index for index in kept(roots, now, terms) if index == signing or now < roots[index].until)


def _is_old(root: Span, now: float, terms: Terms) -> bool:
    return now >= root.made + min(terms.root, root.until - root.made) / 2


def _living(roots: Sequence[Span], now: float) -> list[int]:
    return [index for index, root in enumerate(roots) if root.made <= now < root.until]


def renewal(span: Span) -> float:
    """The moment at two thirds of a life: a third is left for a gateway that does not answer."""
    return span.made + (span.until - span.made) * 2 / 3
