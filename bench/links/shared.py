"""What comes of it when ranks give and take by the library's door? Donors side by side, chains, deltas, memory.

Every rank tells what it holds at the end, and it must be what the donor holds.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.links import figures
from bench.links.crew import Member, Told, crew, together
from bench.links.network import INTERFACE, Link
from bench.links.ranks import TENSOR_BYTES, Rank, giving, taking
from bench.table import Row

ROUNDS = 3
RATE = 400
"""Megabits per second of a link."""
STRIPED, CHAINED, HELD = 48, 48, 100
"""Chunks of the state. The chain's end is a chunk late for each link: the fewer there are, the more that is."""
DONORS, LENGTHS = (1, 2, 4), (1, 4, 8)


def striped() -> list[Row]:
    """One recipient, whose link is as fast as this machine, of more and more donors. Raises NoNetwork."""
    seconds: dict[int, list[float]] = {donors: [] for donors in DONORS}
    most = max(DONORS)
    with _ranks([*[Link(RATE, RATE)] * most, Link()], STRIPED) as ranks:
        _once(ranks[-1:], ranks[:-1])
        for _ in range(ROUNDS):
            for donors, taken in seconds.items():
                taken.append(_once(ranks[-1:], ranks[:donors]))
    return figures.striped(seconds, STRIPED * TENSOR_BYTES / 1e6, _link())


def chained() -> list[Row]:
    """One donor, and more and more recipients, each of which passes it on. Raises NoNetwork."""
    seconds: dict[int, list[float]] = {length: [] for length in LENGTHS}
    with _ranks([Link(RATE, RATE)] * (max(LENGTHS) + 1), CHAINED) as ranks:
        for _ in range(ROUNDS):
            for length, taken in seconds.items():
                taken.append(_once(ranks[1 : 1 + length], ranks[:1]))
    return figures.chained(seconds, CHAINED * TENSOR_BYTES / 1e6, f"{_link()}, both ways")


def held() -> list[Row]:
    """Memory and delta, over the loop-back."""
    with _ranks((), HELD, count=3) as (donor, in_place, new):
        state = HELD * TENSOR_BYTES
        first = _all({donor: giving([1]), in_place: taking([0])})[1]
        second = _all({donor: giving([2]), new: taking([0], new=True)})[1]
        third = _all({donor: giving([1]), in_place: taking([0], changed=1)})[1]
    above = first[donor]["memory"], first[in_place]["memory"], second[new]["memory"]
    return [
        figures.delta([third[donor]["sent"], third[in_place]["sent"]], 1, HELD, state),
        *figures.memory(*above, state),
    ]


def _once(takers: Sequence[Member], givers: Sequence[Member]) -> float:
    """Seconds until the last one had it. The ranks stand in the order: givers, then takers one after the other."""
    ranks = {member: member.rank for member in (*givers, *takers)}
    told: dict[Member, Told] = {giver: giving([ranks[takers[0]]]) for giver in givers}
    for place, taker in enumerate(takers):
        sources = [ranks[giver] for giver in givers] if place == 0 else [ranks[takers[place - 1]]]
        told[taker] = taking(sources, [ranks[each] for each in takers[place + 1 : place + 2]])
    began, answers = _all(told)
    return max(answers[taker]["ended"] for taker in takers) - began


def _all(told: Mapping[Member, Told]) -> tuple[float, dict[Member, Told]]:
    began, answers = together(told)
    if len({answer["holds"] for answer in answers.values()}) != 1:
        raise AssertionError("a recipient holds something else than its donor")
    return began, answers


@contextmanager
def _ranks(links: Sequence[Link], chunks: int, count: int = 0) -> Iterator[list[Member]]:
    size, interface = (len(links), INTERFACE) if links else (count, "lo")
    with tempfile.TemporaryDirectory() as folder:
        ranks = [Rank(rank, size, Path(folder), interface, chunks) for rank in range(size)]
        with crew(ranks, links) as members:
            yield members


def _link() -> str:
    return f"links of {RATE} Mbit/s"
