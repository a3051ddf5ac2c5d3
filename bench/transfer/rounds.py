"""Who takes when? The parent takes what a child gives, way by way, round by round, and reads the clock."""

import multiprocessing
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from bench.channel import connected, gloo
from bench.machine import end_with_parent
from bench.table import Row, median_ratio
from bench.transfer.memory import always_new, backed
from bench.transfer.states import CASES, Case, State, distinct
from bench.transfer.ways import WAYS, Link, Way, give_counted, take_counted
from checkpointheal import digest
from checkpointheal.ends.memory import is_taken_back

PROMISED = {
    ("2 GB in 378 tensors", "ours", "PyTorch's"): 1 / 2,
    ("2 GB in 378 tensors", "ours", "gloo"): 1 / 1.2,
    ("2 GB in 378 tensors", "ours, in place", "PyTorch's, in place"): 1.0,
    ("2 GB in 378 tensors", "ours, in place", "gloo, in place"): 1 / 0.8,
    ("10,000 tensors of 4 KB", "ours", "PyTorch's"): 1 / 20,
    ("10,000 tensors of 4 KB", "ours, in place", "PyTorch's, in place"): 1 / 10,
}
"""Time over time, at most."""
ON_THE_WIRE, DIGEST_SHARE = 1.01, 0.15
DIGESTED, SHARED = "2 GB in 378 tensors", "64 views of 64 MB"
_COUNTED = b"counted"
HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def rows() -> list[Row]:
    """Of every case: each way's time, and the ratios that are promised."""
    huge = HUGE.read_text().partition("[")[2].partition("]")[0] if HUGE.exists() else "none"
    found = [Row("huge pages", 0.0, "", None, huge + ("; not asked for: a host takes back" if is_taken_back() else ""))]
    for name, case in CASES.items():
        found += _case(name, case)
    return found


def _case(name: str, case: Case) -> list[Row]:
    torch.manual_seed(0)
    state = case.make()
    size = sum(each.nbytes for each in distinct(state))
    taken, sent = _measured(case, state, size)
    found = [
        Row(
            f"{name}: {way}",
            statistics.median(seconds),
            "s",
            None,
            f"{size / 1e9 / statistics.median(seconds):.2f} GB/s",
        )
        for way, seconds in taken.items()
    ]
    for (case_name, ours, peers), most in PROMISED.items():
        if case_name == name and peers in taken:
            ratio = median_ratio(list(zip(taken[ours], taken[peers], strict=True)))
            found.append(Row(f"{name}: {ours} over {peers}", ratio, "", most, f"median of {case.rounds} pairs"))
    return [*found, *_beside(name, taken, sent / size, state)]


def _beside(name: str, taken: dict[str, list[float]], sent: float, state: State) -> list[Row]:
    """What else is promised of ours: what it sends, and what of its time is the digest's."""
    begun = time.perf_counter()
    for each in distinct(state):
        digest.chunk_digests(each.view(torch.uint8).numpy().data)
    hashing = time.perf_counter() - begun
    most = ON_THE_WIRE if name == SHARED else None
    rows = [Row(f"{name}: bytes that the donor sends over those of the storages", sent, "", most)]
    if name == DIGESTED:
        share = hashing / statistics.median(taken["ours, in place"])
        rows.append(Row(f"{name}: digest of all, over the time in place", share, "", DIGEST_SHARE, "one core"))
    return rows


def _measured(case: Case, state: State, size: int) -> tuple[dict[str, list[float]], int]:
    """Seconds by way and round, and the bytes that ours sends."""
    ways = {name: WAYS[name] for name in case.ways if name in WAYS}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    always_new()
    with _linked(case, ways) as link:
        target = case.make()
        for number in range(case.rounds + 1):
            for name, way in ways.items():
                backed(size)
                link.words.sendall(name.encode().ljust(32))
                begun = time.perf_counter()
                came = way.take(link, target)
                spent = time.perf_counter() - begun
                if number:  # the first round maps what the others use again
                    taken[name].append(spent)
                elif isinstance(came, dict):
                    _compare(name, came, state)
                del came
        link.words.sendall(_COUNTED.ljust(32))
        return taken, take_counted(link)


def _compare(way: str, came: State, state: State) -> None:
    differing = [name for name, tensor in state.items() if not torch.equal(came[name], tensor)]
    if differing:
        raise AssertionError(f"{way}: {differing[0]} came otherwise than it was given")


@contextmanager
def _linked(case: Case, ways: dict[str, Way]) -> Iterator[Link]:
    context = multiprocessing.get_context("fork")
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory() as folder:
        child = context.Process(target=_serve, args=(case, ways, (theirs, ours), Path(folder)))
        child.start()
        theirs.close()
        try:
            torch.set_num_threads(1)
            yield Link(gloo(ours, 1), connected(ours, 1), ours, Path(folder), 0)
        finally:
            ours.close()
            child.join(60)


def _serve(case: Case, ways: dict[str, Way], ends: tuple[socket.socket, socket.socket], folder: Path) -> None:
    """Give whatever is asked for, until nobody asks: the asker's end was inherited, and would keep it open."""
    end_with_parent()
    words, askers = ends
    askers.close()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    state = case.make()
    link = Link(gloo(words, 0), connected(words, 0), words, folder, 1)
    always_new()
    while name := words.recv(32).strip():
        (give_counted if name == _COUNTED else ways[name.decode()].give)(link, state)
