"""What two agents say to each other before bytes move: ask for a state, keep and give private parts.

Must not know HTTP or process groups.
"""

from pydantic import Field

from checkpointheal.contract.base import Attempt, Count, Digest, Message, Step
from checkpointheal.contract.layout import Identity

PEER_PROTOCOL = 1


class Ask(Message):
    """A recipient asks the donor that its assignment names."""

    protocol: int = PEER_PROTOCOL
    heal: str
    attempt: Attempt
    recipient_uid: str
    step: Step
    schema_digest: Digest
    state_digest: Digest
    channel: str = Field(default="gloo", description="How the bytes shall cross.")

    @property
    def identity(self) -> Identity:
        """The state that is meant."""
        return Identity(step=self.step, schema_digest=self.schema_digest, state_digest=self.state_digest)


class Meet(Message):
    """The donor holds the generation and waits in the process group: come here."""

    store_port: int = Field(ge=1, le=65535, description="TCP store of this attempt, on the donor's host.")
    prefix: str = Field(description="Key prefix in the store; holds heal and attempt, so a stale peer meets nobody.")
    total: Count


class No(Message):
    """The donor will not, and why."""

    reason: str
    message: str
