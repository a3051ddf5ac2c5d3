"""What do transfers over links come to? Rows of samples, with what was promised of them.

A rate is told as time: so many donors at once may take at most so much of the time that one takes.
"""

import statistics
from collections.abc import Mapping, Sequence

from bench.table import Row, median_ratio

DONORS_SHARE = 0.9
"""Of what so many donors could bring, at least."""
CHAIN, DELTA, SLOWED = 1.25, 0.03, 1.10
"""Times the time of one recipient; part of the state's bytes; times the time of a step."""
MEGABYTES = 64.0


def striped(seconds: Mapping[int, Sequence[float]], megabytes: float, link: str) -> list[Row]:
    """`seconds`: round by round, for each number of donors, one among them."""
    found = [_taken(f"{donors} donor{'s' if donors > 1 else ''}", seconds[donors], megabytes) for donors in seconds]
    for donors in seconds:
        if donors > 1:
            shares = [(donors * many, one) for many, one in zip(seconds[donors], seconds[1], strict=True)]
            what = f"{donors} donors: {donors} x their time over one donor's"
            found.append(Row(what, median_ratio(shares), "", 1 / DONORS_SHARE, _pairs(shares, link)))
    return found


def chained(seconds: Mapping[int, Sequence[float]], megabytes: float, link: str) -> list[Row]:
    """`seconds`: round by round, for each length of the chain, one among them; until the last one had it."""
    found = [
        _taken(f"chain of {length}" if length > 1 else "one recipient", seconds[length], megabytes)
        for length in seconds
    ]
    for length in seconds:
        if length > 1:
            pairs = list(zip(seconds[length], seconds[1], strict=True))
            what = f"chain of {length}: its time over one recipient's"
            found.append(Row(what, median_ratio(pairs), "", CHAIN, _pairs(pairs, link)))
    return found


def delta(sent: Sequence[int], changed: int, chunks: int, state: int) -> Row:
    """`sent`: bytes, by each side."""
    note = f"{changed} of {chunks} chunks changed, both sides' bytes"
    return Row("delta: bytes on the wire over bytes of the state", sum(sent) / state, "", DELTA, note)


def memory(donor: int, in_place: int, new: int, state: int) -> list[Row]:
    """What was resident at most, above what was before the first transfer of its process; in bytes, as `state`."""
    return [
        Row("memory: donor, above its state", donor / 1e6, "MB", MEGABYTES, f"state of {state / 1e6:.0f} MB"),
        Row("memory: recipient in place, above the live state", in_place / 1e6, "MB", MEGABYTES),
        Row("memory: recipient out of place, above one state", max(0, new - state) / 1e6, "MB", MEGABYTES),
    ]


def slowed(steps: Sequence[tuple[float, float]], processor: Sequence[float], link: str) -> list[Row]:
    """`steps`: seconds of one while serving and just before; `processor`: of the donor, seconds per second."""
    return [
        Row("training: a step", statistics.median(before for _, before in steps), "s", None, "one thread"),
        Row("training: donor's processor", statistics.median(processor), "s/s", None, "TLS, read from the arena"),
        Row("training: a step while serving over one before", median_ratio(steps), "", SLOWED, _pairs(steps, link)),
    ]


def _taken(what: str, seconds: Sequence[float], megabytes: float) -> Row:
    middle = statistics.median(seconds)
    return Row(what, middle, "s", None, f"{megabytes / middle:.1f} MB/s")


def _pairs(pairs: Sequence[object], link: str) -> str:
    return f"median of {len(pairs)}; {link}"
