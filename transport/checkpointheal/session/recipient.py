"""Is the offered state the right one, which of it is missing, and did it arrive?

Whatever arrives is judged by the digests of the offer, and the offer by the identity that was assigned. Must not know
which channel carries the frames, where the bytes lie, or the time.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from checkpointheal import digest
from checkpointheal.contract.layout import Identity
from checkpointheal.errors import Abandoned, BadFrame, BytesDiffer, PeerBroke, PeerRefused
from checkpointheal.session.heard import expect, refusal, told
from checkpointheal.session.table import RECIPIENT, Walk
from checkpointheal.wire import FIRST, SPOKEN, Frame, Hello, Lifeline, Offer, Range, Receipt, Refuse, Want, found_in

SHOWN = 8


@dataclass(frozen=True)
class Expected:
    """What the recipient came for."""

    heal: str
    attempt: int
    identity: Identity | None
    """None: whatever the donor holds, as long as it is what it says."""
    lifeline: Lifeline | None = None
    """Where the recipient waits to be called."""
    step: int | None = None
    """Of the state, where no identity is assigned. None: any."""

    @property
    def due_step(self) -> int | None:
        """The step that must be offered."""
        return self.step if self.identity is None else self.identity.step


@dataclass(frozen=True)
class Verdict:
    """How the transfer ended here, and what the donor is told."""

    frame: Receipt | Refuse
    differing: tuple[int, ...]
    """Chunks that arrived with other bytes than were offered."""
    cause: Refuse | None = None
    """What the donor said in place of one of them."""

    def error(self, of_whom: str = "") -> PeerBroke:
        """What a verdict of no is raised as."""
        if self.cause is not None:
            return PeerRefused(self.cause.reason, self.cause.message)
        return BytesDiffer(of_whom + _differ(self.differing))


class RecipientSession:
    """One transfer, seen by who receives."""

    def __init__(self, expected: Expected) -> None:
        self._expected, self._walk = expected, Walk(RECIPIENT)
        self._offer: Offer | None = None
        self._due: deque[int] = deque()
        self._differing: list[int] = []
        self.version = FIRST
        """In which everything behind the offer is written."""
        self.cause: Refuse | None = None
        """What the donor said in place of a chunk."""

    @property
    def state(self) -> str:
        """Where it stands in the table."""
        return self._walk.state

    @property
    def offer(self) -> Offer:
        """The accepted offer. Raises BadFrame before it."""
        if self._offer is None:
            raise BadFrame(f"no offer was accepted while {self.state}")
        return self._offer

    @property
    def due(self) -> tuple[int, ...]:
        """Wanted chunks that have not arrived, in order."""
        return tuple(self._due)

    @property
    def chunk_seconds(self) -> float:
        """What one chunk may take by the donor's own cap."""
        return self.offer.chunk_seconds

    def hello(self) -> Hello:
        """The first word."""
        expected = self._expected
        return Hello(heal=expected.heal, attempt=expected.attempt, spoken=SPOKEN, lifeline=expected.lifeline)

    def accept(self, frame: Frame, version: int = FIRST) -> Offer:
        """The offer, believed; what follows is said in the `version` that it is written in.

        Raises Abandoned (another attempt or step), BytesDiffer (another state).
        """
        offer = expect(self._walk, frame, Offer)
        _check_attempt(offer, self._expected)
        _check_identity(offer, self._expected)
        self._walk.take("Offer")
        self._offer, self.version = offer, version
        return offer

    def compare(self, present: Sequence[str]) -> Want:
        """What is missing, given the digests of the chunks that lie here, which may be fewer than there are."""
        missing = self.offer.missing(present)
        self._walk.take("Compared")
        self._due.extend(missing)
        return Want(ranges=tuple(_runs(missing)))

    def want(self, indices: Sequence[int]) -> Want:
        """These next, ascending, where somebody else decides what is missing; none: a sign of life."""
        self._walk.take("Wanted")
        self._due.extend(indices)
        return Want(ranges=tuple(_runs(indices)))

    def arrive(self, index: int, found: str) -> bool:
        """A wanted chunk arrived with this digest; whether it is the offered one. Raises BadFrame out of order."""
        if not self._due or self._due[0] != index:
            raise BadFrame(f"chunk {index} arrived while {self._due[0] if self._due else 'nothing'} was due")
        self._walk.take("Arrived")
        self._due.popleft()
        same = found == self.offer.chunks[index]
        if not same:
            self._differing.append(index)
        return same

    def explain(self, begins: bytes) -> None:
        """The chunk that differed begins so: perhaps the donor says why it has no better one."""
        self.cause = self.cause or found_in(begins)

    def verdict(self) -> Verdict:
        """All wanted chunks have arrived: is it the state? Raises BadFrame where some have not."""
        if self._due:
            raise BadFrame(f"the verdict is asked for while {len(self._due)} chunks are due")
        self._walk.take("Differed" if self._differing else "Verified")
        if self._differing:
            return Verdict(refusal(BytesDiffer(_differ(self._differing))), tuple(self._differing), self.cause)
        return Verdict(Receipt(state_digest=self.offer.identity.state_digest), ())


def _check_attempt(offer: Offer, expected: Expected) -> None:
    if (offer.heal, offer.attempt) != (expected.heal, expected.attempt):
        raise Abandoned(
            f"the donor offers for {told(offer.heal, offer.attempt)}, this is {told(expected.heal, expected.attempt)}"
        )


def _check_identity(offer: Offer, expected: Expected) -> None:
    schema = digest.schema_digest(offer.manifest.schema_)
    found = Identity(
        step=offer.identity.step,
        schema_digest=schema,
        state_digest=digest.state_digest(schema, offer.manifest.values, offer.chunks),
    )
    if offer.identity != found:
        raise BytesDiffer(f"the offer says {_named(offer.identity)}, but its manifest and chunks make {_named(found)}")
    if expected.due_step not in (None, found.step):
        raise Abandoned(f"the donor offers step {found.step}, step {expected.due_step} is assigned")
    if expected.identity is not None and expected.identity != found:
        raise BytesDiffer(f"the donor offers {_named(found)}, assigned is {_named(expected.identity)}")


def _named(identity: Identity) -> str:
    return f"step {identity.step} of schema {identity.schema_digest[:8]} and state {identity.state_digest[:8]}"


def _runs(indices: Sequence[int]) -> Iterator[Range]:
    first = 0
    for at, index in enumerate(indices):
        if at + 1 == len(indices) or indices[at + 1] != index + 1:
            yield Range(first=indices[first], end=index + 1)
            first = at + 1


def _differ(differing: Sequence[int]) -> str:
    shown = ", ".join(map(str, differing[:SHOWN])) + (", …" if len(differing) > SHOWN else "")
    return f"{len(differing)} chunks arrived with other bytes than were offered: {shown}"
