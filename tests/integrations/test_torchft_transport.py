"""torchft's Manager finds in HealTransport what it finds in its own transports, and is told what went wrong."""

import copy
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist

pytest.importorskip("torchft", reason="torchft is not installed here: make integrations")

from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torchft.checkpointing.transport import CheckpointTransport
from torchft.process_group import FakeProcessGroupWrapper, ProcessGroupBabyGloo, ProcessGroupGloo

import builders_ends
import builders_pg
import builders_torchft as build
from checkpointheal.errors import (
    Abandoned,
    CheckpointHealError,
    Misuse,
    Overdue,
    PeerLost,
    PeerRefused,
    SchemaDiffers,
    TargetInvalid,
)

SHORT = timedelta(milliseconds=50)


def a_state(fill: float = 1.0) -> dict[str, Any]:
    """As the Manager puts it: the user's parts, and its own."""
    shared = torch.full((1000,), fill)
    user = {"model": {"w": shared, "tied": shared}, "optimizer": {"lr": 0.1, "betas": (0.9, 0.999)}}
    return {"user": user, "torchft": {"step": int(fill), "batches_committed": 2 * int(fill)}}


def test_it_is_a_checkpoint_transport() -> None:
    assert all(isinstance(each, CheckpointTransport) for each in build.transports(build.gloo(1)))


@pytest.mark.parametrize("in_place", [False, True], ids=["out of place", "in place"])
def test_all_recover_then_some_do_with_the_same_transports(in_place: bool) -> None:
    giving, *taking = build.transports(build.gloo(3), **({"state_dict": lambda: a_state(0.0)} if in_place else {}))
    _, *received = builders_ends.side_by_side(
        build.sends(giving, [1, 2], a_state(), step=1), *[build.receives(each, step=1) for each in taking]
    )
    assert all(builders_pg.same(each, a_state()) for each in received)
    for each in (giving, *taking):
        each.disallow_checkpoint()
    _, again = builders_ends.side_by_side(
        build.sends(giving, [2], a_state(2.0), step=2), build.receives(taking[1], step=2)
    )
    assert builders_pg.same(again, a_state(2.0))
    weights = again["user"]["model"]
    assert weights["w"].data_ptr() == weights["tied"].data_ptr(), "a tie is a tie again"


def test_live_tensors_are_filled_where_they_are() -> None:
    live = a_state(0.0)
    giving, taking = build.transports(build.gloo(2), state_dict=lambda: live)
    _, received = builders_ends.side_by_side(build.sends(giving, [1], a_state()), build.receives(taking))
    assert received["user"]["model"]["w"] is live["user"]["model"]["w"]
    assert builders_pg.same(received, a_state())


@pytest.fixture
def mesh() -> Iterator[Any]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_a_dtensor_is_one_again_on_the_mesh_of_its_replica(mesh: Any) -> None:
    state = {"w": DTensor.from_local(torch.arange(12.0), mesh, [Shard(0)], run_check=False)}
    giving, taking = build.transports(build.gloo(2))
    _, received = builders_ends.side_by_side(build.sends(giving, [1], state), build.receives(taking))
    assert isinstance(received["w"], DTensor)
    assert torch.equal(received["w"].to_local(), state["w"].to_local())
    assert received["w"]._spec == state["w"]._spec


def test_a_donor_of_another_step_is_refused_by_name_before_a_byte_crosses() -> None:
    quorums, live = build.gloo(2), a_state(0.0)
    recording = builders_pg.Recording(quorums.groups[0])
    giving = build.HealTransport(recording, build.SECONDS, build.CPU)
    taking = build.transports(quorums, state_dict=lambda: live)[1]
    gave, took = builders_ends.side_by_side(build.sends(giving, [1], a_state(), step=4), build.receives(taking, step=3))
    assert isinstance(took, Abandoned)
    assert str(took) == "the donor offers step 4, step 3 is assigned"
    assert isinstance(gave, PeerRefused)
    assert str(gave) == "Abandoned: the donor offers step 4, step 3 is assigned"
    assert builders_pg.same(live, a_state(0.0))
    assert len(recording.sent) == 2, "prefix and header of the offer, and nothing after them"


def test_who_waits_in_vain_is_told_so_in_torchfts_words() -> None:
    _, taking = build.transports(build.gloo(2))
    with pytest.raises(Overdue, match="timed out: nothing came from or went to rank 0"):
        build.receives(taking, timeout=SHORT)()
    giving, _ = build.transports(build.gloo(2))
    with pytest.raises(Overdue, match="timed out: nothing came from or went to rank 1"):
        giving.send_checkpoint([1], step=7, state_dict=a_state(), timeout=SHORT)


def test_a_group_that_a_timeout_closed_says_so_at_once_and_works_again_once_it_is_configured() -> None:
    quorums = build.gloo(2)
    giving, taking = build.transports(quorums)
    with pytest.raises(Overdue):
        build.receives(taking, timeout=SHORT)()
    with pytest.raises(PeerLost, match="the connection to rank 0 is gone"):
        build.receives(taking)()
    quorums.next()
    _, received = builders_ends.side_by_side(build.sends(giving, [1], a_state()), build.receives(taking))
    assert builders_pg.same(received, a_state())


def test_a_recipient_that_refuses_takes_nothing_from_the_others() -> None:
    quorums = build.gloo(3)
    giving, taking, _ = build.transports(quorums)
    unfit = build.HealTransport(quorums.groups[2], build.SECONDS, build.CPU, lambda: {"another": torch.zeros(1)})
    gave, received, refused = builders_ends.side_by_side(
        build.sends(giving, [1, 2], a_state()), build.receives(taking), build.receives(unfit)
    )
    assert isinstance(refused, SchemaDiffers)
    assert isinstance(gave, PeerRefused)
    assert builders_pg.same(received, a_state())


def test_a_donor_with_another_transport_is_named_instead_of_waited_for() -> None:
    _, taking = build.transports(build.gloo(2))
    with pytest.raises(
        Misuse, match=r"rank 0 sends by another transport \(<n/a>\): give every replica a HealTransport"
    ):
        taking.recv_checkpoint(src_rank=0, metadata="<n/a>", step=1, timeout=build.SECONDS)


def test_a_state_that_changes_while_it_is_sent_is_copied_first_from_then_on() -> None:
    quorums, state = build.gloo(2), {"running_mean": torch.zeros(1_000_000)}  # less is sent as it was packed

    def forward_pass(number: int) -> None:
        if number >= 1:
            state["running_mean"].add_(1)

    giving = build.HealTransport(builders_pg.Recording(quorums.groups[0], forward_pass), build.SECONDS, build.CPU)
    taking = build.transports(quorums)[1]
    gave, took = builders_ends.side_by_side(build.sends(giving, [1], state), build.receives(taking))
    assert isinstance(gave, PeerRefused)
    assert isinstance(took, CheckpointHealError)
    was = {"running_mean": state["running_mean"].clone()}
    quorums.next()
    _, received = builders_ends.side_by_side(build.sends(giving, [1], state), build.receives(taking))
    assert builders_pg.same(received, was)


def test_a_group_within_another_one_is_reached() -> None:
    quorums = build.Quorums([FakeProcessGroupWrapper(ProcessGroupGloo(timeout=build.SECONDS)) for _ in range(2)])
    giving, taking = build.transports(quorums)
    _, received = builders_ends.side_by_side(build.sends(giving, [1], a_state()), build.receives(taking))
    assert builders_pg.same(received, a_state())


def test_a_group_in_a_child_gets_copies_and_live_memory_stays_where_it_is() -> None:
    quorums = build.Quorums([ProcessGroupBabyGloo(timeout=build.SECONDS) for _ in range(2)])
    try:
        live, state = a_state(0.0), a_state()
        giving, taking = build.transports(quorums, state_dict=lambda: live)
        gave, received = builders_ends.side_by_side(build.sends(giving, [1, 1], state), build.receives(taking))
        assert gave is None, "to a rank that is named twice it is sent once"
        assert builders_pg.same(received, state)
        assert received["user"]["model"]["w"] is live["user"]["model"]["w"]
        assert not any(each["user"]["model"]["w"].is_shared() for each in (state, live))
        quorums.groups[0]._p.kill()
        quorums.groups[0]._p.join()
        with pytest.raises(PeerLost):
            build.sends(giving, [1], state)()
    finally:
        for group in quorums.groups:
            group.shutdown()


def test_a_live_target_that_was_not_completed_guards_its_module_until_the_caller_has_filled_it() -> None:
    module = torch.nn.Linear(1 << 22, 1, bias=False)
    quorums = build.gloo(2)
    giving = build.HealTransport(builders_pg.dying(quorums.groups[0], 1), build.SECONDS, build.CPU)
    taking = build.HealTransport(quorums.groups[1], build.SECONDS, build.CPU, module.state_dict)
    taking.guard(module)
    state = copy.deepcopy(module.state_dict())
    gave, took = builders_ends.side_by_side(build.sends(giving, [1], state), build.receives(taking))
    assert isinstance(gave, PeerLost)
    assert isinstance(took, PeerLost)
    with pytest.raises(TargetInvalid):
        module(torch.ones(1 << 22))
    module.load_state_dict(state)
    taking.declare_whole()
    assert module(torch.ones(1 << 22)).isfinite().all()


def test_a_shutdown_that_does_not_wait_cancels_what_is_under_way() -> None:
    quorums = build.gloo(2)

    def shut_down(number: int) -> None:
        if number == 1:
            giving.shutdown(wait=False)

    giving = build.HealTransport(builders_pg.Recording(quorums.groups[0], shut_down), build.SECONDS, build.CPU)
    gave, took = builders_ends.side_by_side(
        build.sends(giving, [1], a_state()), build.receives(build.transports(quorums)[1])
    )
    assert isinstance(gave, Abandoned)
    assert isinstance(took, PeerLost)


def test_a_shutdown_that_waits_lets_what_is_under_way_end() -> None:
    quorums = build.gloo(2)
    closing = threading.Thread(target=lambda: giving.shutdown(wait=True))

    def shut_down(number: int) -> None:
        if number == 1:
            closing.start()

    giving = build.HealTransport(builders_pg.Recording(quorums.groups[0], shut_down), build.SECONDS, build.CPU)
    gave, received = builders_ends.side_by_side(
        build.sends(giving, [1], a_state()), build.receives(build.transports(quorums)[1])
    )
    closing.join()
    assert gave is None
    assert builders_pg.same(received, a_state())
    with pytest.raises(Abandoned, match="this transport was shut down"):
        build.sends(giving, [1], a_state())()
