"""What every word of the contract has in common: frozen, typed, bounded, and tolerant only where versions may differ.

Whoever reads a word may write it into a log, a terminal or an API object: what does not fit there ends here. Must not
know any other module of ours.
"""

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints


class Fixed(BaseModel):
    """Made once; another one is made of it."""

    def but(self, /, **changes: object) -> Self:
        """The same with other values, which are taken as they are. A field that there is not is a TypeError."""
        fields = type(self).__pydantic_fields__
        if not changes.keys() <= fields.keys():
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(changes.keys() - fields.keys()))}")
        return self.model_copy(update=changes)


class Frozen(Fixed):
    """A fact. An unknown field is refused: bytes depend on these models, so nothing in them may be overlooked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Message(Fixed):
    """Something said between two builds that may differ by a version: unknown fields are ignored, never required."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
"""128 bits in lower-case hexadecimal. It detects accidents; authenticity is TLS's job."""

MOST = 1 << 53
"""JSON numbers up to here are exact to every reader, and there is room above it in the API's 64 bits."""
LONGEST = 1e9
"""Seconds: over 30 years."""

Count = Annotated[int, Field(ge=0, le=MOST)]
Size = Annotated[int, Field(ge=0)]
"""Of a part of a tensor: whether it can be is seen from all of them together, by `manifest.check`."""
Step = Annotated[int, Field(ge=0, le=MOST, description="Optimizer updates completed since the job began.")]
Attempt = Annotated[
    int, Field(ge=1, le=MOST, description="Fencing number of a heal: lower ones are ignored by everyone.")
]
Epoch = Annotated[int, Field(ge=0, le=MOST, description="Number of a membership; 0 before the first.")]
Seconds = Annotated[float, Field(ge=0, le=LONGEST)]


def _is_plain(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it holds characters that cannot be printed")
    return text


def shown(text: str) -> str:
    """On one line, and harmless to a terminal: what cannot be printed is written out as Python writes it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def tidy(text: object, longest: int) -> object:
    """A text as it may stand in an object of so many characters."""
    if not isinstance(text, str):
        return text
    found = shown(text[: longest + 1])
    return found if len(found) <= longest else found[: longest - 1] + "…"


Name = Annotated[str, StringConstraints(max_length=253), AfterValidator(_is_plain)]
"""Of a pod, a host, a job. Another one is refused: a name that was changed would be somebody else's."""
Id = Annotated[str, StringConstraints(max_length=128), AfterValidator(_is_plain)]
"""Of one life of something."""
Word = Annotated[str, BeforeValidator(lambda text: tidy(text, 64))]
"""A reason. A longer one is cut."""
Sentence = Annotated[str, BeforeValidator(lambda text: tidy(text, 1000))]
"""What somebody may read. A longer one is cut."""
