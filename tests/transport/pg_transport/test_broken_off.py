"""Whatever ends a transfer on one side is told to the other at once, and raised unchanged where it happened."""

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import builders_ends
import builders_pg as build
from checkpointheal import PGTransport, Progress
from checkpointheal.errors import Misuse, PeerLost, PeerRefused
from checkpointheal.wire import framing

LONG = 300.0
SOON = 60.0
STATE = {"a": torch.ones(12 << 20), "b": torch.ones(2 << 20)}
"""Seven chunks."""


class Enough(Exception):
    """The user's own."""


def at(done: int) -> Callable[[Progress], None]:
    def stop(progress: Progress) -> None:
        if progress.done >= done:
            raise Enough("enough")

    return stop


def ending(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except Exception as error:
        return error


def transport(group: Any, **options: Any) -> PGTransport:
    return PGTransport(group, build.timedelta(seconds=LONG), build.CPU, **options)


def crossed(giving: PGTransport, *taking: PGTransport, state: Any = STATE) -> list[Any]:
    """How it ended at the donor and at each recipient, soon."""
    began = time.monotonic()
    outcomes: list[Any] = builders_ends.side_by_side(
        lambda: [ending(lambda: giving.send_checkpoint(range(1, 1 + len(taking)), state))],
        *[lambda each=each: [ending(lambda: each.recv_checkpoint(0))] for each in taking],
    )
    assert time.monotonic() - began < SOON
    return [outcome for (outcome,) in outcomes]


@pytest.mark.parametrize("done", [0, 1], ids=["before the first chunk", "after it"])
def test_a_recipients_own_error_frees_the_donor_and_the_rank_is_given_up(done: int) -> None:
    groups = builders_ends.gloo_groups(seconds=LONG)
    receiver = transport(groups[1], progress=at(done))
    gave, took = crossed(transport(groups[0]), receiver)
    assert (type(took), str(took)) == (Enough, "enough")
    assert isinstance(gave, PeerLost)
    with pytest.raises(PeerLost, match=r"rank 0 was given up before \(a transfer with it was broken off here\)"):
        receiver.recv_checkpoint(0)


def test_a_recipients_own_error_behind_the_last_chunk_is_told_by_name_and_the_group_goes_on() -> None:
    groups = builders_ends.gloo_groups(seconds=LONG)
    sender, receiver = transport(groups[0]), transport(groups[1], progress=at(56 << 20))
    gave, took = crossed(sender, receiver)
    assert type(took) is Enough
    assert isinstance(gave, PeerRefused)
    assert "Misuse: Enough: enough" in str(gave)
    assert crossed(sender, receiver, state={"n": 1}) == [None, {"n": 1}]


def test_what_fails_while_the_recipient_judges_the_offer_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no more")

    sink = recipient_fails("prepare", fail, monkeypatch)
    assert sink == (MemoryError, "PeerRefused", "Misuse: MemoryError: no more")


def test_what_fails_while_the_recipient_seals_the_state_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no more")

    sink = recipient_fails("seal", fail, monkeypatch)
    assert sink == (MemoryError, "PeerRefused", "Misuse: MemoryError: no more")


def recipient_fails(at: str, fail: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> tuple[type, str, str]:
    groups = builders_ends.gloo_groups(seconds=LONG)
    monkeypatch.setattr("checkpointheal.ends.live.StagedSink." + at, fail)
    gave, took = crossed(transport(groups[0]), transport(groups[1]))
    return type(took), type(gave).__name__, str(gave)


@pytest.mark.parametrize("done", [0, 1, 56 << 20], ids=["before the first chunk", "after it", "after the last"])
def test_a_donors_own_error_is_told_by_name_and_the_group_goes_on(done: int) -> None:
    groups = builders_ends.gloo_groups(seconds=LONG)
    sender, receiver = transport(groups[0], progress=at(done)), transport(groups[1])
    gave, took = crossed(sender, receiver)
    assert (type(gave), str(gave)) == (Enough, "enough")
    if done > 1:
        assert build.same(took, STATE), "nothing was left to send"
    else:
        assert isinstance(took, PeerRefused)
        assert "Misuse: Enough: enough" in str(took)
    assert crossed(transport(groups[0]), transport(groups[1]), state={"n": 1}) == [None, {"n": 1}]


def test_memory_that_the_donor_no_longer_has_is_told_by_name() -> None:
    groups = builders_ends.gloo_groups(seconds=LONG)
    state = {f"w{number}": torch.ones(100_000) for number in range(200)}  # small ones are packed, and read once more

    def free(progress: Progress) -> None:
        if progress.done and state["w199"].untyped_storage().nbytes():
            state["w199"].untyped_storage().resize_(0)

    gave, took = crossed(transport(groups[0], progress=free), transport(groups[1]), state=state)
    assert isinstance(gave, Misuse)
    assert isinstance(took, PeerRefused)
    assert str(gave) in str(took)


def test_one_of_several_recipients_that_breaks_off_does_not_keep_the_others_from_their_state() -> None:
    groups = builders_ends.gloo_groups(3, seconds=LONG)
    gave, left, took = crossed(transport(groups[0]), transport(groups[1], progress=at(1)), transport(groups[2]))
    assert isinstance(gave, PeerLost)
    assert type(left) is Enough
    assert build.same(took, STATE)


def test_a_state_whose_values_are_too_much_for_an_offer_names_the_largest_on_both_sides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(framing, "HEADER_LIMIT", 1 << 16)
    groups = builders_ends.gloo_groups(seconds=LONG)
    sender, receiver = transport(groups[0]), transport(groups[1])
    gave, took = crossed(sender, receiver, state={"w": torch.ones(3), "index": np.arange(7_000), "lr": 0.1})
    assert isinstance(gave, Misuse)
    assert re.search(r"over 65536: make a tensor of what is large in it: index \(\d{5} bytes\), lr \(", str(gave))
    assert isinstance(took, PeerRefused)
    assert str(gave) in str(took)
    assert crossed(sender, receiver, state={"n": 1}) == [None, {"n": 1}]


def test_an_error_of_the_target_costs_one_timeout_however_many_donors_are_absent() -> None:
    groups = builders_ends.gloo_groups(7, seconds=LONG)

    def broken() -> Any:
        raise Enough("no such model")

    receiver = PGTransport(groups[6], build.timedelta(seconds=2), build.CPU, broken)
    began = time.monotonic()
    with pytest.raises(Enough):
        receiver.recv_checkpoint([0, 1, 2, 3, 4], relay_to=[5])
    assert time.monotonic() - began < 8
    assert build.same(crossed(transport(groups[0]), transport(groups[1]), state={"n": 1})[1], {"n": 1})


def test_a_last_word_that_nobody_takes_in_time_costs_no_group() -> None:
    groups = builders_ends.gloo_groups(3, seconds=LONG)
    received, passed_on = threading.Event(), threading.Event()

    def wait(progress: Progress) -> None:
        if progress.done == progress.total:
            passed_on.wait(SOON)

    sender = transport(groups[0], progress=wait)
    receiver = PGTransport(groups[1], build.timedelta(seconds=1), build.CPU)

    def receive_and_pass_on() -> Any:
        found = receiver.recv_checkpoint(0)
        received.set()
        receiver.send_checkpoint([2], {"n": 1}, timeout=build.timedelta(seconds=LONG))
        passed_on.set()
        return found

    def receive_later() -> Any:
        received.wait(SOON)
        return transport(groups[2]).recv_checkpoint(1)

    gave, took, last = builders_ends.side_by_side(
        lambda: sender.send_checkpoint([1], {"w": torch.ones(1)}), receive_and_pass_on, receive_later
    )
    assert gave is None, "the word came once it was taken"
    assert (took["w"], last) == (1, {"n": 1})
