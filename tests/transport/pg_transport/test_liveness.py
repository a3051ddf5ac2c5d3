"""Whoever loses its peer in mid-transfer hears of it at once, whatever the group's and its own timeout are."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import builders_ends
import builders_pg as build
from checkpointheal import PGTransport, Progress
from checkpointheal.errors import Abandoned, CheckpointHealError, PeerLost

LONG = 300.0
"""Seconds of the group and of the transport: who waited for them would fail by SOON."""
SOON = 60.0
STATE = {f"t{i}": torch.ones(4 << 20) for i in range(4)}
VICTIM = """
import os, signal, sys
import torch.distributed as dist
import builders_ends, builders_pg as build
from checkpointheal import PGTransport
from transport.pg_transport.test_liveness import LONG, exchange

def die(progress):
    if progress.done:
        os.kill(os.getpid(), signal.SIGKILL)

store, rank = sys.argv[1], int(sys.argv[2])
group = builders_ends.gloo_rank(dist.FileStore(store, 2), rank, 2, LONG)
exchange(PGTransport(group, build.timedelta(seconds=LONG), build.CPU, progress=die), rank)
"""
TESTS = Path(__file__).parents[2]


def exchange(transport: PGTransport, rank: int) -> object:
    """Rank 0 gives, rank 1 takes."""
    return transport.recv_checkpoint(0) if rank else transport.send_checkpoint([1], STATE)


@pytest.mark.parametrize("turn", range(2))  # gloo itself notices about every second time
@pytest.mark.parametrize("victim", [0, 1], ids=["donor", "recipient"])
def test_a_killed_peer_is_lost_at_once(victim: int, turn: int, tmp_path: Path) -> None:
    store = str(tmp_path / f"store-{turn}")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    child = subprocess.Popen([sys.executable, "-c", VICTIM, store, str(victim)], env=environment)
    group = builders_ends.gloo_rank(dist.FileStore(store, 2), 1 - victim, 2, LONG)
    began = time.monotonic()
    with pytest.raises(PeerLost):
        exchange(build.a_transport(group, seconds=LONG), 1 - victim)
    assert time.monotonic() - began < SOON
    assert child.wait() == -signal.SIGKILL


def test_a_recipient_that_is_cancelled_frees_its_donor_at_once() -> None:
    giving, taking = builders_ends.gloo_groups(seconds=LONG)

    def leave(progress: Progress) -> None:
        if progress.done:
            receiver.cancel()

    receiver = PGTransport(taking, build.timedelta(seconds=LONG), build.CPU, progress=leave)
    began = time.monotonic()
    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(giving, seconds=LONG).send_checkpoint([1], STATE),
        lambda: receiver.recv_checkpoint(0),
    )
    assert isinstance(took, Abandoned)
    assert isinstance(gave, CheckpointHealError)
    assert time.monotonic() - began < SOON


def test_one_of_several_recipients_that_dies_does_not_keep_the_others_from_their_state() -> None:
    groups = builders_ends.gloo_groups(3, seconds=LONG)

    def leave(progress: Progress) -> None:
        if progress.done:
            leaving.cancel()

    leaving = PGTransport(groups[1], build.timedelta(seconds=LONG), build.CPU, progress=leave)
    gave, _, took = builders_ends.side_by_side(
        lambda: build.a_transport(groups[0], seconds=LONG).send_checkpoint([1, 2], STATE),
        lambda: leaving.recv_checkpoint(0),
        lambda: build.a_transport(groups[2], seconds=LONG).recv_checkpoint(0),
    )
    assert isinstance(gave, CheckpointHealError)
    assert build.same(took, STATE)
