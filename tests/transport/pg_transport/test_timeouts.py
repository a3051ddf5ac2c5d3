"""A timeout is what it says, however long, or it is refused."""

import threading
from datetime import timedelta

import pytest
import torch

import builders_ends
import builders_pg as build
from checkpointheal import PGTransport
from checkpointheal.channel.channel import FOR_GOOD
from checkpointheal.errors import Misuse

STATE = {"w": torch.arange(5_000_000)}


@pytest.fixture
def died(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What ended threads."""
    found: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda told: found.append(f"{told.thread.name}: {told.exc_value}"))
    return found


@pytest.mark.parametrize("timeout", [timedelta(days=365), timedelta(days=300 * 365), timedelta.max], ids=str)
@pytest.mark.parametrize("sources", [1, 2])
def test_a_very_long_timeout_is_as_good_as_a_shorter_one(timeout: timedelta, sources: int, died: list[str]) -> None:
    *giving, taking = builders_ends.gloo_groups(1 + sources)
    receiver = PGTransport(taking, timeout, build.CPU)
    *gave, received = builders_ends.side_by_side(
        *[
            lambda group=group: build.a_transport(group).send_checkpoint([sources], STATE, timeout=timeout)
            for group in giving
        ],
        lambda: receiver.recv_checkpoint(range(sources)),
    )
    assert gave == [None] * sources
    assert build.same(received, STATE)
    assert died == []


@pytest.mark.parametrize("seconds", [0, -5])
def test_a_timeout_that_leaves_no_time_is_refused_wherever_it_is_given(seconds: float) -> None:
    group, none = torch.distributed.ProcessGroup(0, 2), timedelta(seconds=seconds)
    transport = build.a_transport(group)
    acts = (
        lambda: PGTransport(group, none, build.CPU),
        lambda: transport.send_checkpoint([1], STATE, timeout=none),
        lambda: transport.recv_checkpoint(1, timeout=none),
    )
    for act in acts:
        with pytest.raises(Misuse, match=f"a timeout of {seconds} s leaves no time for an answer: give"):
            act()


def test_what_is_not_said_is_the_transports_own() -> None:
    peers = build.a_transport(None, seconds=7)._peers
    assert [peers.seconds(each) for each in (None, timedelta(seconds=3), timedelta.max)] == [7, 3, FOR_GOOD]
    assert FOR_GOOD * 1000 < 1 << 31, "groups of torchft's in a child process poll for so many milliseconds"
