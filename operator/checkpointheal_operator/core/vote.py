"""Whose bytes are right, where peers hold different ones for one step of one coordinate.

Only equal schemas are compared, and only equal builds must agree: another torch or processor may round differently.
The larger group wins; where two are equally large, what a lost peer last held decides, or nobody is believed. Nor is
anybody against whom more lost peers stand than live ones beside it: whose memory went wrong cannot be seen any more.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from checkpointheal.contract.layout import Identity
from checkpointheal.contract.report import Generation
from checkpointheal_operator.core.heal_record import Remembered
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.reasons import Reason


@dataclass(frozen=True)
class Holder:
    """A member whose agent has read a generation through."""

    place: Place
    generation: Generation

    @property
    def uid(self) -> str:
        """Its pod."""
        return self.place.pod.uid if self.place.pod else ""

    @property
    def build(self) -> str:
        """What computed it."""
        return self.place.report.build if self.place.report else ""


@dataclass(frozen=True)
class Ballot:
    """The outcome for one coordinate at one step, by pod UID."""

    accepted: Mapping[str, Holder] = field(default_factory=dict)
    refused: Mapping[str, Reason] = field(default_factory=dict)

    @cached_property
    def identities(self) -> frozenset[Identity | None]:
        """What is accepted."""
        return frozenset(holder.generation.identity for holder in self.accepted.values())


def elect(holders: Sequence[Holder], witnesses: Iterable[Remembered]) -> Ballot:
    """Split `holders` into believed and refused. `witnesses` are of the same coordinate and step."""
    witnesses = tuple({(each.pod_uid, each.identity): each for each in witnesses}.values())
    schema = _winner(
        Counter(each.generation.schema_digest for each in holders),
        Counter(each.identity.schema_digest for each in witnesses),
    )
    weight = Counter(each.generation.state_digest or "" for each in holders)
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for digest, holder in ((each.generation.state_digest or "", each) for each in holders):
        if holder.generation.schema_digest == schema:
            votes[holder.build][digest] = weight[digest]
    believed = {build: _winner(each, _witnessed(build, witnesses)) for build, each in votes.items()}
    accepted: dict[str, Holder] = {}
    refused: dict[str, Reason] = {}
    for holder in holders:
        if holder.generation.schema_digest != schema:
            refused[holder.uid] = Reason.SCHEMA_DIFFERS if schema else Reason.NO_MAJORITY
            continue
        right = believed[holder.build]
        if right == holder.generation.state_digest:
            accepted[holder.uid] = holder
        else:
            refused[holder.uid] = Reason.DIGEST_DISAGREES if right else Reason.NO_MAJORITY
    return Ballot(accepted, refused)


def must_agree(one: Holder, other: Holder) -> bool:
    """Whether both were computed alike, so that other bytes mean wrong ones."""
    return one.build == other.build and one.generation.schema_digest == other.generation.schema_digest


def _witnessed(build: str, witnesses: Iterable[Remembered]) -> Counter[str]:
    return Counter(each.identity.state_digest for each in witnesses if each.build == build)


def _winner(votes: Counter[str], witnessed: Counter[str]) -> str | None:
    """The strictly largest group; among the equally largest the only one that was witnessed; else none.

    Nor one that fewer hold, live or lost, than lost ones held another.
    """
    if not votes:
        return None
    most = max(votes.values())
    largest = {each for each, count in votes.items() if count == most}
    decided = largest if len(largest) == 1 else largest & witnessed.keys()
    if len(decided) != 1:
        return None
    (winner,) = decided
    against = max((count for each, count in witnessed.items() if each != winner), default=0)
    return winner if votes[winner] + witnessed[winner] >= against else None
