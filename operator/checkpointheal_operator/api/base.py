"""What every field of our API objects is made of: camel-cased names, members as text, times to the microsecond.

The API's own times have whole seconds; a record's time decides deadlines, so it is kept as RFC 3339 text with six
digits. Must not know any of the objects.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from checkpointheal.contract.base import Fixed, tidy
from checkpointheal.contract.identity import MemberId

GROUP = "checkpointheal.dev"
VERSION = "v1alpha1"

_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Json = dict[str, Any]
"""An object as the API server writes it."""


class Part(Fixed):
    """A part of an API object. Unknown fields are ignored: a newer operator may have written them."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False
    )

    def body(self) -> Json:
        """What a create sends: no field that is absent."""
        return self.model_dump(by_alias=True, mode="json", exclude_none=True)

    def patch(self) -> Json:
        """What a merge patch sends: null for what is absent, so that it goes from the stored object too."""
        return self.model_dump(by_alias=True, mode="json")


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 text, to the nearest microsecond."""
    return (_BEGIN + round(seconds * 1e6) * _MICROSECOND).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_of(text: str) -> float:
    """Read RFC 3339 text. Whole microseconds come back as `timestamp` got them; raises ValueError."""
    return ((datetime.fromisoformat(text) - _BEGIN) // _MICROSECOND) / 1e6


def second(seconds: float) -> str:
    """As the API's own types want it: whole seconds."""
    return (_BEGIN + timedelta(seconds=int(seconds))).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read_time(value: object) -> object:
    return seconds_of(value) if isinstance(value, str) else value


def _read_member(value: object) -> object:
    return MemberId.parse(value) if isinstance(value, str) else value


MicroTime = Annotated[
    float,
    BeforeValidator(_read_time),
    PlainSerializer(timestamp, return_type=str, when_used="json-unless-none"),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 64}),
]
Member = Annotated[
    MemberId,
    BeforeValidator(_read_member),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+/[0-9]+$", "maxLength": 32}),
]
Name = Annotated[str, Field(max_length=253)]
Word = Annotated[str, Field(max_length=64)]
Uid = Annotated[str, Field(max_length=128)]
Sentence = Annotated[str, BeforeValidator(lambda text: tidy(text, 4096)), Field(max_length=4096)]
Channel = Literal["TLS", "Gloo"]
CHANNELS: Mapping[Channel, Literal["tls", "gloo"]] = {"TLS": "tls", "Gloo": "gloo"}
"""As the core and agents say them."""
Whole = Annotated[int, Field(ge=0)]
Length = Annotated[float, Field(ge=0)]
"""A length of time in seconds; a fraction is a double, which JSON carries exactly."""


def channel_said(channel: str) -> Channel:
    """As it stands in an object."""
    return "TLS" if channel == CHANNELS["TLS"] else "Gloo"


class Condition(Part):
    """One thing that is so, is not so, or is not known yet."""

    type: Word = Field(description="What it is about, as an adjective or past participle.")
    status: Annotated[str, Field(json_schema_extra={"enum": ["True", "False", "Unknown"]})] = Field(
        description="True, False, or Unknown while nothing is known yet."
    )
    reason: Annotated[str, Field(min_length=1, max_length=1024)] = Field(description="The fact behind it, in one word.")
    message: Annotated[str, BeforeValidator(lambda text: tidy(text, 32768)), Field(max_length=32768)] = Field(
        default="", description="The fact behind it, in a sentence."
    )
    observed_generation: Whole | None = Field(default=None, description="Generation of the spec that it was seen for.")
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] = Field(
        description="When its status last changed."
    )


class Metadata(Part):
    """What we read of an object's metadata. Written by the API server."""

    name: str = Field(description="Its name.")
    namespace: str = Field(default="", description="Its namespace.")
    uid: str = Field(default="", description="This life of the name.")
    resource_version: str = Field(default="", description="Changes with each write.")
    generation: int = Field(default=0, description="Changes with each write of the spec.")
    annotations: dict[str, str] = Field(default={}, description="What its owner has said besides.")
