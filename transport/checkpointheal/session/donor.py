"""What does a donor answer, and which chunks does it send?

Must not know which channel carries the frames, where the bytes lie, or the time.
"""

from checkpointheal.errors import Abandoned, BadFrame, BytesDiffer
from checkpointheal.session.heard import expect, told
from checkpointheal.session.table import DONOR, Walk
from checkpointheal.wire import Frame, Hello, Offer, Receipt, Want, negotiate


class DonorSession:
    """One transfer, seen by who gives. `hold` comes before, `release` after: the shell's part."""

    def __init__(self, offer: Offer) -> None:
        self._offer, self._walk = offer, Walk(DONOR)
        self._given: set[int] = set()
        self.version = 0

    @property
    def state(self) -> str:
        """Where it stands in the table."""
        return self._walk.state

    def greet(self, frame: Frame) -> Offer:
        """Answer the recipient's Hello. Raises UnknownVersion; Abandoned where it came for another attempt."""
        hello = expect(self._walk, frame, Hello)
        self.version = negotiate(hello.spoken)
        ours, theirs = (self._offer.heal, self._offer.attempt), (hello.heal, hello.attempt)
        if ours != theirs:
            raise Abandoned(f"the recipient came for {told(*theirs)}, this is {told(*ours)}")
        self._walk.take("Hello")
        return self._offer

    def asked(self, frame: Frame) -> tuple[int, ...] | None:
        """Indices of the chunks to send now; None: the recipient has everything. Raises as the two below do."""
        if isinstance(frame, Receipt):
            self.release(frame)
            return None
        return self.wanted(frame)

    def wanted(self, frame: Frame) -> tuple[int, ...]:
        """Indices of the chunks to send, in order.

        Raises BadFrame for a chunk that does not exist, and for one that was wanted before: no recipient can make a
        donor send more than its state.
        """
        want = expect(self._walk, frame, Want)
        count = len(self._offer.chunks)
        if want.ranges and want.ranges[-1].end > count:
            raise BadFrame(f"chunk {want.ranges[-1].end - 1} is wanted of {count}")
        indices = tuple(index for wanted in want.ranges for index in range(wanted.first, wanted.end))
        if again := self._given.intersection(indices):
            raise BadFrame(f"chunk {min(again)} is wanted a second time")
        self._walk.take("Want")
        self._given.update(indices)
        return indices

    def release(self, frame: Frame) -> None:
        """The recipient has everything. Raises BytesDiffer where it has something else."""
        receipt = expect(self._walk, frame, Receipt)
        if receipt.state_digest != self._offer.identity.state_digest:
            raise BytesDiffer(
                f"the recipient thanks for state {receipt.state_digest}, {self._offer.identity.state_digest} was sent"
            )
        self._walk.take("Receipt")
