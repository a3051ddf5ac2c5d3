"""Where does a job that was killed fall short of one that never was? Pure: from what was seen of both to sentences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Parts = Mapping[str, str]
"""Name of a part to its fingerprint."""
Batches = Mapping[int, Sequence[str]]
"""Update to the micro-batches that it was made of."""
PRINTED = 3
"""Differences of one kind that are told one by one."""


@dataclass(frozen=True)
class Ended:
    """How a training ended: of each rank the parts of its state, and what every update was made of."""

    parts: Sequence[Parts]
    batches: Sequence[Batches]


@dataclass(frozen=True)
class Told:
    """One rank's own word in one moment: which process it is, and how many updates it has made; None: it begins."""

    life: str
    step: int | None


@dataclass(frozen=True)
class Suffered:
    """What was seen of the job that was killed."""

    planned: int
    hits: Sequence[int]
    """Of each rank, how often it was killed."""
    message: str
    """Empty where every member finished."""
    wrong_fallbacks: Sequence[str]
    told: Sequence[Sequence[Told]]
    """Of each rank, in order."""

    @property
    def happened(self) -> int:
        return sum(self.hits)

    @property
    def lives(self) -> list[int]:
        """How many processes each rank was."""
        return [len({each.life for each in told}) for told in self.told]

    @property
    def again(self) -> int:
        """Updates computed more than once, over all ranks."""
        made = [[each.step for each in told if each.step is not None] for told in self.told]
        return sum(len(steps) - len(set(steps)) for steps in made)

    @property
    def back(self) -> int:
        """The most updates that a process went back by."""
        return max((back for told in self.told for back in _back(told)), default=0)


def shortfalls(undisturbed: Ended, ended: Ended | None, suffered: Suffered, back: int | None) -> list[str]:
    """Each as a sentence; none where the job ended as it should."""
    found = [suffered.message] if suffered.message else []
    if suffered.happened != suffered.planned:
        found.append(f"{suffered.happened} of {suffered.planned} kills came to pass")
    found += [f"went back though memory had the step: {each}" for each in suffered.wrong_fallbacks]
    found += _of_survivors(suffered, back) if back is not None else []
    if suffered.again > suffered.happened * len(suffered.hits):
        found.append(f"{suffered.again} updates computed again, more than one a kill and rank")
    return found + (_differences(undisturbed, ended) if ended is not None else [])


def _of_survivors(suffered: Suffered, back: int) -> list[str]:
    found = [
        f"rank {rank} was {lives} processes and was killed {hits} times"
        for rank, (lives, hits) in enumerate(zip(suffered.lives, suffered.hits, strict=True))
        if lives > 1 + hits
    ]
    if suffered.back > back:
        found.append(f"a survivor went back by {suffered.back} updates, at most {back} may be")
    return found


def _differences(undisturbed: Ended, ended: Ended) -> list[str]:
    parts, batches = list(_parts(undisturbed, ended)), list(_batches(undisturbed, ended))
    more = [f"and {len(each) - PRINTED} more" for each in (parts, batches) if len(each) > PRINTED]
    return parts[:PRINTED] + batches[:PRINTED] + more


def _parts(undisturbed: Ended, ended: Ended) -> Iterator[str]:
    if not any(undisturbed.parts) or len(undisturbed.parts) != len(ended.parts):
        yield "there is nothing to compare"
    for rank, (wanted, found) in enumerate(zip(undisturbed.parts, ended.parts, strict=False)):
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                yield f"rank {rank}: {name} differs"


def _batches(undisturbed: Ended, ended: Ended) -> Iterator[str]:
    for rank, (wanted, found) in enumerate(zip(undisturbed.batches, ended.batches, strict=False)):
        for step in sorted(wanted.keys() | found.keys()):
            if wanted.get(step) != found.get(step):
                yield f"rank {rank}: update {step + 1} was made of other samples"


def _back(told: Sequence[Told]) -> Iterator[int]:
    """Within one process: from what it had made to before what it made next."""
    made: dict[str, int] = {}
    for each in told:
        if each.step is not None:
            yield made.get(each.life, each.step - 1) - (each.step - 1)
            made[each.life] = each.step
