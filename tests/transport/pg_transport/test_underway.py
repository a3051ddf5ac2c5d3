"""Whoever waits for a transfer is told how far it has come, and can leave it."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

import builders_ends
import builders_pg as build
from checkpointheal import PGTransport, Progress
from checkpointheal.errors import Abandoned, PeerRefused

SOON = 20.0
"""Seconds after which nobody would have waited any more."""


def test_both_sides_are_told_how_many_bytes_have_crossed_of_how_many_and_with_whom() -> None:
    groups = builders_ends.gloo_groups(3)
    told: list[list[Progress]] = [[], [], []]
    ends = [
        PGTransport(group, build.timedelta(seconds=20), build.CPU, progress=seen.append)
        for group, seen in zip(groups, told, strict=True)
    ]
    state = {"w": torch.arange(5_000_000)}
    builders_ends.side_by_side(
        lambda: ends[0].send_checkpoint([1, 2], state),
        lambda: ends[1].recv_checkpoint(0),
        lambda: ends[2].recv_checkpoint(0),
    )
    for seen, peers in zip(told, ((1, 2), (0,), (0,)), strict=True):
        for peer in peers:
            done = [each.done for each in seen if each.peer == peer]
            assert done == sorted(done)
            assert (done[0], done[-1]) == (0, 40_000_000)
            assert all(each.total == 40_000_000 and each.rate >= 0 for each in seen)
            assert next(each.rate for each in reversed(seen) if each.peer == peer) > 0


def test_of_a_state_without_tensors_the_whole_of_nothing_is_told() -> None:
    giving, taking = builders_ends.gloo_groups()
    told: list[Progress] = []
    receiver = PGTransport(taking, build.timedelta(seconds=20), build.CPU, progress=told.append)
    builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], {"n": 1}), lambda: receiver.recv_checkpoint(0)
    )
    assert [(each.done, each.total) for each in told] == [(0, 0)]


def test_only_the_chunks_that_are_wanted_count() -> None:
    giving, taking = builders_ends.gloo_groups()
    told: list[Progress] = []
    live = {"a": torch.zeros(1 << 20)}
    receiver = PGTransport(
        taking, build.timedelta(seconds=20), build.CPU, lambda: live, strict=False, progress=told.append
    )
    state = {"a": torch.ones(1 << 20), "extra": torch.ones(8 << 20)}
    builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], state), lambda: receiver.recv_checkpoint(0)
    )
    assert (told[-1].done, told[-1].total) == (8 << 20, 8 << 20)


def cancelled(transport: Any, act: Any, ready: Callable[[], bool] = lambda: True) -> float:
    """Cancel it while it waits; how many seconds later the call had ended, by Abandoned."""
    outcome: list[Any] = []

    def wait() -> None:
        try:
            outcome.append(act())
        except Abandoned as error:
            outcome.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while waiting.is_alive() and not (transport._peers.underway._waiting and ready()):
        waiting.join(0.01)
    began = time.monotonic()
    transport.cancel()
    returned = time.monotonic() - began
    waiting.join(SOON)
    assert not waiting.is_alive()
    assert isinstance(outcome[0], Abandoned)
    assert returned < SOON
    return time.monotonic() - began


def test_a_receive_that_waits_for_its_donor_is_left_at_once() -> None:
    groups = builders_ends.gloo_groups(seconds=60)
    receiver = build.a_transport(groups[1], seconds=60)
    assert cancelled(receiver, lambda: receiver.recv_checkpoint(0)) < SOON
    assert len(groups) == 2, "the donor is there, and silent"


def test_a_send_that_waits_for_its_recipients_is_left_at_once() -> None:
    groups = builders_ends.gloo_groups(3, seconds=60)
    sender = build.a_transport(groups[0], seconds=60)
    assert cancelled(sender, lambda: sender.send_checkpoint([1, 2], {"w": torch.ones(3)})) < SOON
    assert len(groups) == 3, "the others are there, and silent"


def test_a_transport_that_was_cancelled_says_so_and_touches_its_group_no_more() -> None:
    giving, taking = builders_ends.gloo_groups(seconds=60)
    recording = build.Recording(taking)
    receiver = build.a_transport(recording, {"w": torch.zeros(1)}, seconds=60)
    cancelled(receiver, lambda: receiver.recv_checkpoint(0), lambda: len(recording.sent) == 2)
    sent = len(recording.sent)
    for act in (lambda: receiver.recv_checkpoint(0), lambda: receiver.send_checkpoint([0], {})):
        with pytest.raises(Abandoned, match="make another group"):
            act()
    assert len(recording.sent) == sent
    assert giving.rank() == 0, "the donor is there, and silent"


@pytest.mark.parametrize("staged", [True, False], ids=["staged", "in place"])
def test_nothing_is_written_to_a_target_once_its_transfer_was_left(staged: bool) -> None:
    giving, taking = builders_ends.gloo_groups(seconds=5)
    live = {"w": torch.zeros(6 << 20)}
    arrived = threading.Event()

    def tell(progress: Progress) -> None:
        if progress.done:
            receiver.cancel()
            arrived.set()

    receiver = PGTransport(taking, build.timedelta(seconds=5), build.CPU, lambda: live, progress=tell, staged=staged)
    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(giving, seconds=2).send_checkpoint([1], {"w": torch.ones(6 << 20)}),
        lambda: receiver.recv_checkpoint(0),
    )
    assert arrived.is_set()
    assert isinstance(took, Abandoned)
    assert gave is not None, "the donor finds out by its own timeout"
    if staged:
        assert not live["w"].any()
    else:
        chunks = [{*map(str, live["w"][at : at + (2 << 20)].tolist())} for at in range(0, 6 << 20, 2 << 20)]
        assert chunks == [{"1.0"}, {"nan"}, {"nan"}], "what had come, and nothing that came later"


def test_a_donor_that_was_left_sends_no_further_chunk() -> None:
    giving, taking = builders_ends.gloo_groups(seconds=5)
    recording = build.Recording(giving, lambda number: sender.cancel() if number == 3 else None)
    sender = build.a_transport(recording, seconds=5)
    gave, took = builders_ends.side_by_side(
        lambda: sender.send_checkpoint([1], {"w": torch.ones(64 << 20)}),
        lambda: build.a_transport(taking, seconds=1).recv_checkpoint(0),
    )
    assert isinstance(gave, Abandoned)
    assert took is not None
    assert len(recording.sent) < 2 + 32


def test_cancelling_while_nothing_waits_changes_nothing() -> None:
    giving, taking = builders_ends.gloo_groups()
    sender = build.a_transport(giving)
    sender.cancel()
    _, received = builders_ends.side_by_side(
        lambda: sender.send_checkpoint([1], {"n": 1}), lambda: build.a_transport(taking).recv_checkpoint(0)
    )
    assert received == {"n": 1}


def test_an_error_of_the_users_own_target_frees_the_donor_at_once() -> None:
    giving, taking = builders_ends.gloo_groups(seconds=60)

    def broken() -> Any:
        raise LookupError("no such model")

    receiver = PGTransport(taking, build.timedelta(seconds=60), build.CPU, broken)
    outcome: list[Any] = []

    def receive() -> None:
        try:
            receiver.recv_checkpoint(0)
        except LookupError as error:
            outcome.append(error)

    gave, _ = builders_ends.side_by_side(
        lambda: build.a_transport(giving, seconds=60).send_checkpoint([1], {"n": 1}), receive
    )
    assert isinstance(gave, PeerRefused)
    assert "LookupError: no such model" in str(gave)
    assert str(outcome[0]) == "no such model"
