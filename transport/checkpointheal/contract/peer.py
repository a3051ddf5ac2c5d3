"""What two agents say to each other before bytes move: ask for a state, keep and give private parts.

Must not know HTTP or process groups.
"""

from pydantic import Field

from checkpointheal.contract.base import Attempt, Count, Digest, Id, Message, Name, Sentence, Step, Word
from checkpointheal.contract.layout import Identity

PEER_PROTOCOL = 1
PREAMBLE = b"CKHS"
"""How a connection for a transfer begins, in clear, at the port at which all others begin as TLS does: with 0x16."""
TICKET_BYTES = 16


class Ask(Message):
    """A recipient asks the donor that its assignment names."""

    protocol: int = PEER_PROTOCOL
    heal: Name
    attempt: Attempt
    recipient_uid: Id
    step: Step
    schema_digest: Digest
    state_digest: Digest
    channel: str = Field(default="gloo", description="How the bytes shall cross.")

    @property
    def identity(self) -> Identity:
        """The state that is meant."""
        return Identity(step=self.step, schema_digest=self.schema_digest, state_digest=self.state_digest)


class Meet(Message):
    """The donor holds the generation and waits: come here."""

    channel: str = Field(default="gloo", description="How the bytes will cross.")
    store_port: int = Field(
        default=0, ge=0, le=65535, description="gloo: TCP store of this attempt, on the donor's host."
    )
    prefix: str = Field(description="Key prefix in the store; holds heal and attempt, so a stale peer meets nobody.")
    ticket: str = Field(default="", repr=False, description="tls: what `preamble` shows at the donor's door, once.")
    total: Count


def preamble(ticket: str) -> bytes:
    """The first words of a recipient at its donor's door: TLS follows. Raises ValueError where it is no ticket."""
    shown = bytes.fromhex(ticket)
    if len(shown) != TICKET_BYTES:
        raise ValueError(f"a ticket has {TICKET_BYTES} bytes, not {len(shown)}")
    return PREAMBLE + shown


class No(Message):
    """The donor will not, and why."""

    reason: Word
    message: Sentence
