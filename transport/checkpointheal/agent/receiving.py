"""What does a recipient's process do between the first word to its donor and the last byte, whatever it takes it for?

Must not know where the bytes go, or whether anybody waits for them.
"""

import time

from checkpointheal import recipient
from checkpointheal.agent import errand as words
from checkpointheal.agent import ways
from checkpointheal.ends import Sink, Terms
from checkpointheal.session import Expected


def receive(errand: words.Errand, voice: ways.Voice, sink: Sink, terms: Terms) -> words.Ended:
    """Take the errand's state into `sink`; a drill takes whichever the donor has newest.

    Raises CheckpointHealError.
    """
    began = time.monotonic()
    expected = Expected(errand.heal, errand.attempt, None if errand.drill else errand.identity)
    way = ways.to_donor(errand, terms.deadline, voice)
    try:
        met = time.monotonic()
        taken = recipient.take(way.channel(), sink, expected, terms)
    finally:
        way.close()
    return words.Ended(
        bytes=taken.bytes,
        total=taken.offer.manifest.schema_.data_bytes,
        hold_seconds=met - began + taken.hold_seconds,
        transfer_seconds=taken.transfer_seconds,
        verify_seconds=taken.verify_seconds,
        step=taken.offer.identity.step,
        state_digest=taken.offer.identity.state_digest,
    )
