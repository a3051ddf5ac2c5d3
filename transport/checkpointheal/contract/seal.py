"""What the arena's small file says of a slot once its bytes are whole.

The slot's data file may be half written at any instant; the seal is renamed into place last and removed first, so its
presence is the proof. Must not know files: the arena does.
"""

from pydantic import Field, JsonValue

from checkpointheal.contract.base import Count, Digest, Epoch, Frozen, Step
from checkpointheal.contract.identity import MemberId

ARENA_FORMAT = 1


class Seal(Frozen):
    """One sealed generation: whose it is, of which step, and the values that are not tensors."""

    format: int = Field(default=ARENA_FORMAT, description="Version of the arena's files.")
    job: str
    member: MemberId
    incarnation: str = Field(description="Which start of the trainer (or which heal) wrote it.")
    epoch: Epoch
    step: Step
    schema_digest: Digest
    header_bytes: Count = Field(description="Where the data section starts in the slot file.")
    data_bytes: Count
    values: tuple[JsonValue, ...] = Field(description="The manifest's values.")
    state_digest: Digest | None = Field(
        default=None, description="Set where it was verified on arrival; else the agent computes it."
    )
