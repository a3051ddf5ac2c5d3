"""How long does the training loop stand still for a commit, beside one plain copy of the same bytes?

Commits and copies take turns in one process, in which torch has one thread: what disturbs one disturbs the other. The
copy goes into the arena's own slot, whose pages are mapped and touched already: it is the least that keeping a state
can cost. A second process plays the agent, and answers at once, as one on the same machine does.
"""

import argparse
import asyncio
import mmap
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import checkpointheal
from bench.table import Row, median_ratio
from checkpointheal import digest
from checkpointheal.agent.rendezvous import Board
from checkpointheal.arena import Arena, Reading
from checkpointheal.contract.trainer import (
    SOCKET_NAME,
    TRAINER_SAYS,
    PrivateKept,
    PrivateReady,
    Reserve,
    Reserved,
    Restored,
    Sealed,
    StoreAsk,
    Wait,
)
from checkpointheal.demo.reference import build, train_step

PAIRS = 20
TARGET = 1.5


def rows() -> list[Row]:
    """Pause of a commit, the plain copy, their ratio, and what the agent spends on digests meanwhile."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, agent(Path(folder)):
        os.environ |= {"CHECKPOINTHEAL_ARENA": folder}
        pairs, size = _measure(Path(folder))
        commits, copies = zip(*pairs, strict=True)
        return [
            Row("state", size / 1e6, "MB"),
            Row("pause of a commit, every step", statistics.median(commits), "s"),
            Row("one plain copy of the same bytes", statistics.median(copies), "s"),
            Row("ratio", median_ratio(pairs), "", TARGET, f"median of {PAIRS} pairs"),
            Row(
                "digest of a generation, in the agent", _digest_seconds(Path(folder)), "CPU-s", None, "at low priority"
            ),
        ]


def _measure(folder: Path) -> tuple[list[tuple[float, float]], int]:
    model, optimizer, schedule, text = build(_options(), rank=0)
    heal = checkpointheal.attach(model=model, optimizer=optimizer, schedule=schedule, private={"text": text})
    heal.restore()
    pairs = []
    for step in range(-2, PAIRS):
        train_step(model, optimizer, schedule, text)
        begun = time.perf_counter()
        heal.commit(step + 3)
        paused = time.perf_counter() - begun
        if step >= 0:  # the first two commits map the slots
            pairs.append((paused, _copy_seconds(folder)))
    heal.done()
    return pairs, max(seal.data_bytes for seal in Arena.open(folder).seals().values())


_mapped: dict[int, torch.Tensor] = {}


def _copy_seconds(folder: Path) -> float:
    """One copy of the newest generation's bytes, from memory of our own into the older slot."""
    seals = Arena.open(folder).seals()
    slot = min(seals, key=lambda each: seals[each].step)
    start, size = seals[slot].header_bytes, seals[slot].data_bytes
    for number in (slot, -1):
        if number not in _mapped:
            _mapped[number] = _map(folder / f"slot-{slot}.safetensors") if number >= 0 else torch.empty(start + size)
    target, source = _mapped[slot][start:][:size], _mapped[-1].view(torch.uint8)[:size]
    source.copy_(target)
    begun = time.perf_counter()
    target.copy_(source)
    return time.perf_counter() - begun


def _map(file: Path) -> torch.Tensor:
    with file.open("r+b") as opened:
        mapping = torch.frombuffer(mmap.mmap(opened.fileno(), 0), dtype=torch.uint8)
    mapping.copy_(mapping.clone())
    return mapping


def _digest_seconds(folder: Path) -> float:
    arena = Arena.open(folder)
    with arena.read(next(iter(arena.seals()))) as reading:
        begun = time.process_time()
        _digest(reading)
        return time.process_time() - begun


def _digest(reading: Reading) -> None:
    for chunk in reading.chunks(digest.CHUNK_BYTES):
        digest.digest_bytes(chunk)


def _options() -> argparse.Namespace:
    """The demo's model, fed as little as possible."""
    return argparse.Namespace(steps=PAIRS, layers=10, width=384, heads=6, batch=1, length=64)


@contextmanager
def agent(folder: Path, *, digests: bool = False) -> Iterator[None]:
    """A process that answers as an agent does; where it `digests`, each generation, as one that nobody waits for."""
    command = [sys.executable, "-m", "bench.commit", str(folder), *(["digests"] if digests else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        if process.stdout is not None:
            process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()


def _play_agent(folder: Path, *, digests: bool) -> None:
    arena, board = Arena.create(folder), Board()
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / SOCKET_NAME))
    server.listen()
    print("listening", flush=True)
    connection, _ = server.accept()
    with connection.makefile("rb") as lines:
        for line in lines:
            match said := TRAINER_SAYS.validate_json(line):
                case Wait():
                    answer = Restored(
                        request=said.request, epoch=1, step=None, rung="fresh", slot=None, rendezvous=True, members=1
                    )
                case Reserve():
                    arena.reserve(said.slot_bytes, said.part_bytes)
                    answer = Reserved()
                case PrivateReady():
                    answer = PrivateKept(step=said.step, buddies=0)
                case StoreAsk():
                    answer = asyncio.run(board.answer(said))
                case Sealed() if digests:
                    threading.Thread(target=_digest_quietly, args=(arena, said.slot)).start()
                    continue
                case _:
                    continue
            connection.sendall(answer.model_dump_json().encode() + b"\n")


def _digest_quietly(arena: Arena, slot: int) -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
    with arena.read(slot) as reading:
        _digest(reading)


if __name__ == "__main__":
    _play_agent(Path(sys.argv[1]), digests="digests" in sys.argv)
