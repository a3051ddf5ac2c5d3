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
from bench.transfer.states import CASES, Case, State
from bench.transfer.ways import WAYS, Link, Way

PROMISED = {
    ("2 GB in 378 tensors", "ours", "PyTorch's"): 1 / 2,
    ("2 GB in 378 tensors", "ours", "gloo"): 1 / 1.2,
    ("2 GB in 378 tensors", "ours, in place", "PyTorch's, in place"): 1.0,
    ("2 GB in 378 tensors", "ours, in place", "gloo, in place"): 1 / 0.8,
    ("10,000 tensors of 4 KB", "ours", "PyTorch's"): 1 / 20,
    ("10,000 tensors of 4 KB", "ours, in place", "PyTorch's, in place"): 1 / 10,
}
"""Time over time, at most."""
HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def rows() -> list[Row]:
    """Of every case: each way's time, and the ratios that are promised."""
    huge = HUGE.read_text().partition("[")[2].partition("]")[0] if HUGE.exists() else "none"
    found = [Row("huge pages", 0.0, "", None, huge)]
    for name, case in CASES.items():
        found += _case(name, case)
    return found


def _case(name: str, case: Case) -> list[Row]:
    torch.manual_seed(0)
    state = case.make()
    size = sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in state.values()}.values())
    taken = _measured(case, state)
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
    return found


def _measured(case: Case, state: State) -> dict[str, list[float]]:
    ways = {name: WAYS[name] for name in case.ways if name in WAYS}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with _linked(case, ways) as link:
        target = case.make()
        for number in range(case.rounds + 1):
            for name, way in ways.items():
                link.words.sendall(name.encode().ljust(32))
                begun = time.perf_counter()
                came = way.take(link, target)
                spent = time.perf_counter() - begun
                if number:  # the first round maps what the others use again
                    taken[name].append(spent)
                elif isinstance(came, dict):
                    _compare(name, came, state)
                del came
    return taken


def _compare(way: str, came: State, state: State) -> None:
    differing = [name for name, tensor in state.items() if not torch.equal(came[name], tensor)]
    if differing:
        raise AssertionError(f"{way}: {differing[0]} came otherwise than it was given")


@contextmanager
def _linked(case: Case, ways: dict[str, Way]) -> Iterator[Link]:
    context = multiprocessing.get_context("fork")
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory() as folder:
        child = context.Process(target=_serve, args=(case, ways, theirs, Path(folder)))
        child.start()
        theirs.close()
        try:
            torch.set_num_threads(1)
            yield Link(gloo(ours, 1), connected(ours, 1), ours, Path(folder), 0)
        finally:
            ours.close()
            child.join(60)


def _serve(case: Case, ways: dict[str, Way], words: socket.socket, folder: Path) -> None:
    """Give whatever is asked for, until nobody asks."""
    end_with_parent()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    state = case.make()
    link = Link(gloo(words, 0), connected(words, 0), words, folder, 1)
    while name := words.recv(32).decode().strip():
        ways[name].give(link, state)
