"""What every word of the contract has in common: frozen, typed, and tolerant only where versions may differ.

Must not know any other module of ours.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Frozen(BaseModel):
    """A fact. An unknown field is refused: bytes depend on these models, so nothing in them may be overlooked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Message(BaseModel):
    """Something said between two builds that may differ by a version: unknown fields are ignored, never required."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
"""128 bits in lower-case hexadecimal. It detects accidents; authenticity is TLS's job."""

Count = Annotated[int, Field(ge=0)]
Step = Annotated[int, Field(ge=0, description="Optimizer updates completed since the job began.")]
Attempt = Annotated[int, Field(ge=1, description="Fencing number of a heal: lower ones are ignored by everyone.")]
Epoch = Annotated[int, Field(ge=0, description="Number of a membership; 0 before the first.")]
Seconds = Annotated[float, Field(ge=0)]
