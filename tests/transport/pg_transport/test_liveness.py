"""Whoever loses its peer in mid-transfer hears of it at once, whatever the group's and its own timeout are."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import builders_ends
import builders_pg as build
import children
from checkpointheal import PGTransport, Progress
from checkpointheal.errors import Abandoned, CheckpointHealError, PeerLost

LONG = 300.0
"""Seconds of the group and of the transport: who waited for them would fail by SOON."""
SOON = 60.0
STATE = {f"t{i}": torch.ones(4 << 20) for i in range(4)}
Act = Callable[[PGTransport], Any]
GIVE: Act = lambda transport: transport.send_checkpoint([1], STATE)  # noqa: E731 two of a kind
TAKE: Act = lambda transport: transport.recv_checkpoint(0)  # noqa: E731


def dies_in_mid_transfer(progress: Progress) -> None:
    if progress.done:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("turn", range(3))  # gloo itself notices about every second time
@pytest.mark.parametrize(("victim", "acts", "survives"), [(0, GIVE, TAKE), (1, TAKE, GIVE)], ids=["donor", "recipient"])
def test_a_killed_peer_is_lost_at_once(victim: int, acts: Act, survives: Act, turn: int, tmp_path: Path) -> None:
    store = str(tmp_path / f"store-{turn}")

    def die() -> None:
        torch.set_num_threads(1)  # a forked process has none of its parent's threads
        group = builders_ends.gloo_rank(dist.FileStore(store, 2), victim, 2, LONG)
        acts(PGTransport(group, build.timedelta(seconds=LONG), build.CPU, progress=dies_in_mid_transfer))

    child = children.fork(die)
    group = builders_ends.gloo_rank(dist.FileStore(store, 2), 1 - victim, 2, LONG)
    began = time.monotonic()
    with pytest.raises(PeerLost):
        survives(build.a_transport(group, seconds=LONG))
    assert time.monotonic() - began < SOON
    assert children.wait(child) == -signal.SIGKILL


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
