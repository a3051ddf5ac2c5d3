"""Several donors give one state, and a chain of ranks passes it on, over a process group."""

import os
import signal
import threading
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
from checkpointheal.errors import (
    Abandoned,
    BytesDiffer,
    DonorsDisagree,
    Misuse,
    Overdue,
    PeerLost,
    PeerRefused,
    SchemaDiffers,
    TargetInvalid,
)

CHUNK = 8 << 20


def a_state(chunks: int = 6, fill: float = 1.0) -> dict[str, Any]:
    return {"w": torch.full((chunks * CHUNK // 4,), fill), "small": [torch.arange(5), torch.ones(3)], "step": 3}


def zeros(chunks: int = 6) -> dict[str, Any]:
    return {
        "w": torch.zeros(chunks * CHUNK // 4),
        "small": [torch.zeros(5, dtype=torch.int64), torch.zeros(3)],
        "step": 0,
    }


def send(group: Any, state: Any, to: int, seconds: float = 20) -> Callable[[], Any]:
    return lambda: build.a_transport(group, seconds=seconds).send_checkpoint([to], state)


@pytest.mark.parametrize("in_place", [False, True], ids=["out of place", "in place"])
def test_a_state_is_received_from_three_ranks_at_once(in_place: bool) -> None:
    groups, live, told = builders_ends.gloo_groups(4), zeros(), list[Progress]()
    receiver = PGTransport(
        groups[3], build.timedelta(seconds=20), build.CPU, (lambda: live) if in_place else None, progress=told.append
    )
    *gave, received = builders_ends.side_by_side(
        *[send(groups[rank], a_state(), 3) for rank in range(3)], lambda: receiver.recv_checkpoint([0, 1, 2])
    )
    assert gave == [None] * 3
    assert build.same(received, a_state())
    if in_place:
        assert received["w"] is live["w"]
    total = told[0].total
    assert {each.total for each in told} == {total}
    assert {each.peer for each in told} == {0, 1, 2}
    assert sum(max(each.done for each in told if each.peer == rank) for rank in range(3)) == total


def test_a_transport_receives_from_several_again_and_again() -> None:
    groups = builders_ends.gloo_groups(3)
    senders, receiver = [build.a_transport(group) for group in groups[:2]], build.a_transport(groups[2])
    for step in range(4):
        state = a_state(3, float(step))
        *_, received = builders_ends.side_by_side(
            *[lambda sender=sender, state=state: sender.send_checkpoint([2], state) for sender in senders],
            lambda step=step: receiver.recv_checkpoint([0, 1] if step % 2 else [1, 0]),
        )
        assert build.same(received, state)


def test_ranks_that_disagree_are_refused_and_nothing_is_touched() -> None:
    groups, live = builders_ends.gloo_groups(3), zeros()
    *gave, took = builders_ends.side_by_side(
        send(groups[0], a_state(), 2),
        send(groups[1], a_state(fill=2.0), 2),
        lambda: build.a_transport(groups[2], live).recv_checkpoint([0, 1]),
    )
    assert isinstance(took, DonorsDisagree)
    assert [each.refusal for each in gave] == ["DonorsDisagree"] * 2
    assert not live["w"].any()


def test_the_minority_of_the_ranks_is_refused() -> None:
    groups = builders_ends.gloo_groups(4)
    fills = (1.0, 2.0, 1.0)
    *gave, received = builders_ends.side_by_side(
        *[send(groups[rank], a_state(fill=fill), 3) for rank, fill in enumerate(fills)],
        lambda: build.a_transport(groups[3]).recv_checkpoint([0, 1, 2]),
    )
    assert build.same(received, a_state())
    assert gave[0] is gave[2] is None
    assert isinstance(gave[1], PeerRefused)
    assert gave[1].refusal == "BytesDiffer"


def test_a_target_that_does_not_fit_refuses_all_ranks_by_name() -> None:
    groups = builders_ends.gloo_groups(3)
    *gave, took = builders_ends.side_by_side(
        *[send(groups[rank], a_state(1), 2) for rank in range(2)],
        lambda: build.a_transport(groups[2], {"w": torch.zeros(3)}).recv_checkpoint([0, 1]),
    )
    assert isinstance(took, SchemaDiffers)
    assert [str(each) for each in gave] == [f"SchemaDiffers: {took}"] * 2


def test_a_rank_that_is_killed_in_the_middle_costs_only_what_it_owes(tmp_path: Path) -> None:
    def die(number: int) -> None:
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    def rank(number: int) -> Any:
        return builders_ends.gloo_rank(dist.FileStore(str(tmp_path / "store"), 3), number, 3, 60)

    def donate(number: int) -> None:
        torch.set_num_threads(1)  # a forked process has none of its parent's threads
        group = rank(number)
        group = build.Recording(group, die) if number == 0 else group
        build.a_transport(group, seconds=30).send_checkpoint([2], a_state())

    donors = [children.fork(lambda number=number: donate(number)) for number in range(2)]
    received = build.a_transport(rank(2), zeros(), seconds=30).recv_checkpoint([0, 1])
    assert build.same(received, a_state())
    assert [children.wait(each) for each in donors] == [-signal.SIGKILL, 0]


def test_a_rank_that_never_answers_is_given_up_and_the_group_is_good_for_the_others() -> None:
    groups = builders_ends.gloo_groups(3, seconds=60)
    sender, receiver = build.a_transport(groups[0]), build.a_transport(groups[2], seconds=2)
    _, received = builders_ends.side_by_side(
        lambda: sender.send_checkpoint([2], a_state(2)), lambda: receiver.recv_checkpoint([0, 1])
    )
    assert build.same(received, a_state(2))
    _, again = builders_ends.side_by_side(
        lambda: sender.send_checkpoint([2], a_state(1, 5.0)), lambda: receiver.recv_checkpoint(0)
    )
    assert build.same(again, a_state(1, 5.0))
    for act in (lambda: receiver.recv_checkpoint([0, 1]), lambda: receiver.send_checkpoint([1], {})):
        with pytest.raises(PeerLost, match=r"rank 1 was given up before .*make another group"):
            act()
    assert groups[1].rank() == 1, "it is there, and silent"


def test_a_rank_that_stands_still_is_waited_for_by_the_next_transfer_with_it() -> None:
    groups, goes_on = builders_ends.gloo_groups(3), threading.Event()
    held = build.Recording(groups[0], lambda number: goes_on.wait(20) and None if number == 3 else None)
    slow, fast, receiver = build.a_transport(held), build.a_transport(groups[1]), build.a_transport(groups[2])

    def give_twice() -> None:
        slow.send_checkpoint([2], a_state())
        slow.send_checkpoint([2], a_state(1, 5.0))

    def take_twice() -> list[Any]:
        received = [receiver.recv_checkpoint([0, 1])]
        goes_on.set()
        return [*received, receiver.recv_checkpoint(0)]

    *gave, received = builders_ends.side_by_side(give_twice, lambda: fast.send_checkpoint([2], a_state()), take_twice)
    assert gave == [None, None]
    assert build.same(received, [a_state(), a_state(1, 5.0)])


def test_no_rank_at_all_and_one_that_is_on_both_sides_are_refused() -> None:
    receiver = build.a_transport(torch.distributed.ProcessGroup(3, 4))
    with pytest.raises(Misuse, match="no rank is named"):
        receiver.recv_checkpoint([])
    with pytest.raises(Misuse, match="rank 1 is to give the state and to be passed it"):
        receiver.recv_checkpoint([0, 1], relay_to=[1, 2])


def test_a_rank_that_is_named_twice_is_sent_to_once() -> None:
    giving, taking = build.Exchange.pair()
    gave, received = builders_ends.side_by_side(
        lambda: build.a_transport(giving, seconds=5).send_checkpoint([1, 1], a_state(1)),
        lambda: build.a_transport(taking, seconds=5).recv_checkpoint(0),
    )
    assert gave is None
    assert build.same(received, a_state(1))


def test_a_receive_from_several_is_left_at_once() -> None:
    groups = builders_ends.gloo_groups(3, seconds=60)
    recording = build.Recording(groups[2])
    receiver, outcome = build.a_transport(recording, seconds=60), list[Any]()

    def wait() -> None:
        try:
            receiver.recv_checkpoint([0, 1])
        except Abandoned as error:
            outcome.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while len(recording.sent) < 2:
        waiting.join(0.01)
    receiver.cancel()
    waiting.join(20)
    assert isinstance(outcome[0], Abandoned)
    assert len(groups) == 3, "the others are there, and silent"


@pytest.mark.parametrize("in_place", [False, True], ids=["out of place", "in place"])
def test_a_chain_of_ranks_passes_the_state_on(in_place: bool) -> None:
    groups = builders_ends.gloo_groups(4)
    targets = [zeros() if in_place else None for _ in groups]

    def link(rank: int) -> Callable[[], Any]:
        transport, after = build.a_transport(groups[rank], targets[rank]), [rank + 1] if rank < 3 else []
        return lambda: (transport.recv_checkpoint(rank - 1, relay_to=after), transport.unreached)

    gave, *received = builders_ends.side_by_side(send(groups[0], a_state(), 1), link(1), link(2), link(3))
    assert gave is None
    for rank, (state, unreached) in enumerate(received, 1):
        assert build.same(state, a_state())
        assert unreached == {}
        assert not in_place or state["w"] is targets[rank]["w"]  # type: ignore[index]


def test_a_chain_passes_the_state_once_to_a_rank_that_is_named_twice() -> None:
    groups = builders_ends.gloo_groups(3)
    sent = build.Recording(groups[1])
    gave, _, received = builders_ends.side_by_side(
        send(groups[0], a_state(), 1),
        lambda: build.a_transport(sent).recv_checkpoint(0, relay_to=[2, 2]),
        lambda: build.a_transport(groups[2]).recv_checkpoint(1),
    )
    assert gave is None
    assert build.same(received, a_state())
    assert sent.sent.count(CHUNK) == 6


def test_the_donor_of_a_chain_gives_each_chunk_once() -> None:
    groups = builders_ends.gloo_groups(3)
    sent = [build.Recording(group) for group in groups]
    builders_ends.side_by_side(
        send(sent[0], a_state(), 1),
        lambda: build.a_transport(sent[1]).recv_checkpoint(0, relay_to=[2]),
        lambda: build.a_transport(sent[2]).recv_checkpoint(1),
    )
    bytes_of_state = 6 * CHUNK
    assert [each.sent.count(CHUNK) for each in sent] == [6, 6, 0]
    assert sum(sent[0].sent) < 1.01 * bytes_of_state


def test_what_comes_from_several_ranks_is_passed_on_to_several() -> None:
    groups = builders_ends.gloo_groups(5)
    *gave, middle, left, right = builders_ends.side_by_side(
        send(groups[0], a_state(), 2),
        send(groups[1], a_state(), 2),
        lambda: build.a_transport(groups[2]).recv_checkpoint([0, 1], relay_to=[3, 4]),
        lambda: build.a_transport(groups[3]).recv_checkpoint(2),
        lambda: build.a_transport(groups[4]).recv_checkpoint(2),
    )
    assert gave == [None, None]
    assert all(build.same(each, a_state()) for each in (middle, left, right))


def test_a_target_that_needs_a_part_alone_passes_all_of_it_on() -> None:
    groups = builders_ends.gloo_groups(3)
    live = {"small": [torch.zeros(5, dtype=torch.int64), torch.zeros(3)]}
    relay = PGTransport(groups[1], build.timedelta(seconds=20), build.CPU, lambda: live, strict=False)
    gave, _, received = builders_ends.side_by_side(
        send(groups[0], a_state(), 1),
        lambda: relay.recv_checkpoint(0, relay_to=[2]),
        lambda: build.a_transport(groups[2]).recv_checkpoint(1),
    )
    assert gave is None
    assert build.same(received, a_state())
    assert torch.equal(live["small"][0], torch.arange(5))


def test_a_next_rank_that_never_comes_is_told_of_and_takes_nothing_from_this_one() -> None:
    groups = builders_ends.gloo_groups(3, seconds=60)
    relay = build.a_transport(groups[1], seconds=2)
    gave, received = builders_ends.side_by_side(
        send(groups[0], a_state(2), 1), lambda: relay.recv_checkpoint(0, relay_to=[2])
    )
    assert gave is None
    assert build.same(received, a_state(2))
    assert isinstance(relay.unreached[2], Overdue)
    with pytest.raises(PeerLost, match="rank 2 was given up before"):
        relay.send_checkpoint([2], {})
    assert groups[2].rank() == 2, "it is there, and silent"


def test_an_error_of_the_users_own_target_frees_both_sides_of_a_relay() -> None:
    groups = builders_ends.gloo_groups(3, seconds=60)

    def broken() -> Any:
        raise LookupError("no such model")

    relay = PGTransport(groups[1], build.timedelta(seconds=60), build.CPU, broken)

    def receive() -> None:
        with pytest.raises(LookupError):
            relay.recv_checkpoint(0, relay_to=[2])

    gave, _, took = builders_ends.side_by_side(
        send(groups[0], {"n": 1}, 1, 60),
        receive,
        lambda: build.a_transport(groups[2], seconds=60).recv_checkpoint(1),
    )
    assert "LookupError: no such model" in str(gave)
    assert "LookupError: no such model" in str(took)


def changed_at(state: dict[str, Any], number: int, group: Any) -> build.Recording:
    """A donor whose tensors change before its n-th message."""

    def change(sent: int) -> None:
        if sent == number:
            state["w"].data.fill_(9.0)

    return build.Recording(group, change)


def test_a_live_target_that_no_donor_completes_is_spoiled_and_the_next_receive_brings_what_lacks() -> None:
    groups, live, states = builders_ends.gloo_groups(3), zeros(), [a_state(), a_state()]
    receiver = build.a_transport(groups[2], live)
    *_, took = builders_ends.side_by_side(
        *[send(changed_at(states[rank], 4, groups[rank]), states[rank], 2) for rank in range(2)],
        lambda: receiver.recv_checkpoint([0, 1]),
    )
    assert isinstance(took, BytesDiffer)
    values = {*map(str, live["w"].tolist())}
    assert values <= {"1.0", "nan"}, "verified, or nothing"
    assert "nan" in values
    guarded = torch.nn.Identity()
    receiver.guard(guarded)
    with pytest.raises(TargetInvalid):
        guarded(live["w"])
    sent = [build.Recording(group) for group in groups[:2]]
    *_, received = builders_ends.side_by_side(
        *[send(each, a_state(), 2) for each in sent], lambda: receiver.recv_checkpoint([0, 1], delta=True)
    )
    assert build.same(received, a_state())
    assert sum(each.sent.count(CHUNK) for each in sent) < 6


def test_a_chain_that_breaks_in_the_middle_spoils_every_live_target_and_none_holds_anything_unverified() -> None:
    groups, lives, state = builders_ends.gloo_groups(3), [zeros(), zeros()], a_state()
    middle, end = (build.a_transport(group, live) for group, live in zip(groups[1:], lives, strict=True))
    gave, took, last = builders_ends.side_by_side(
        send(changed_at(state, 5, groups[0]), state, 1),
        lambda: middle.recv_checkpoint(0, relay_to=[2]),
        lambda: end.recv_checkpoint(1),
    )
    assert isinstance(gave, PeerRefused)
    assert isinstance(took, BytesDiffer)
    assert str(last) == f"BytesDiffer: {took}", "the cause, not what came of it"
    for live in lives:
        values = {*map(str, live["w"].tolist())}
        assert values <= {"1.0", "nan"}, "verified, or nothing"
        assert "nan" in values
