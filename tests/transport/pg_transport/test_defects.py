"""What was found wrong with PyTorch's PGTransport is right here; and there, as far as it was tried, still wrong."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed._shard.sharded_tensor import Shard, ShardMetadata, init_from_local_shards
from torch.distributed.checkpoint._pg_transport import PGTransport as Upstream

import builders_classes as a
import builders_ends
import builders_pg as build
import children
from checkpointheal import PGTransport
from checkpointheal.errors import CheckpointHealError, Overdue

pytestmark = pytest.mark.filterwarnings("ignore:The given buffer is not writable")
"""Upstream's, where it reads its pickle."""
STILL_WRONG = pytest.mark.xfail(reason="a defect of upstream", raises=(AssertionError, RuntimeError), strict=True)
BOTH = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(PGTransport, id="ours"),
        pytest.param(Upstream, id="upstream", marks=STILL_WRONG),
    ],
)


def bytes_sent(kind: Any, state: object) -> int:
    giving, taking = builders_ends.gloo_groups()
    recording = build.Recording(giving)
    builders_ends.side_by_side(
        lambda: build.a_transport(recording, kind=kind).send_checkpoint([1], state),
        lambda: build.a_transport(taking, kind=kind).recv_checkpoint(0),
    )
    return sum(recording.sent)


@BOTH
def test_many_views_of_one_buffer_cross_once(kind: Any) -> None:
    buffer = torch.randn(1 << 20)
    state = {f"v{i}": buffer[i << 14 : (i + 1) << 14] for i in range(64)}
    assert bytes_sent(kind, state) < 1.01 * buffer.nbytes


@BOTH
def test_tied_tensors_arrive_tied(kind: Any) -> None:
    shared = torch.randn(10)
    received = build.cross({"a": shared, "b": shared}, kind=kind)
    received["a"].zero_()
    assert torch.equal(received["b"], torch.zeros(10))


@BOTH
def test_a_parameter_crosses(kind: Any) -> None:
    parameter = torch.nn.Parameter(torch.randn(3))
    assert build.same(build.cross({"p": parameter}, kind=kind, seconds=2), {"p": parameter})


def filled_or_refused(kind: Any, state: Any, target: Any) -> None:
    """The live tensors hold what was sent, or were not touched and an error says why."""
    before = {name: tensor.clone() for name, tensor in target.items()}
    try:
        build.cross(state, target, kind, seconds=2)
    except CheckpointHealError:
        assert all(torch.equal(target[name], before[name]) for name in target)
    else:
        assert target.keys() == state.keys()
        assert all(torch.equal(target[name], state[name]) for name in target)


@BOTH
def test_another_stride_in_place_is_no_silent_nonsense(kind: Any) -> None:
    filled_or_refused(kind, {"w": torch.randn(4, 4)}, {"w": torch.zeros(4, 4).T})


@BOTH
def test_another_dtype_of_the_same_size_in_place_is_no_silent_nonsense(kind: Any) -> None:
    filled_or_refused(kind, {"w": torch.randn(4)}, {"w": torch.zeros(8, dtype=torch.bfloat16)})


@BOTH
def test_a_missing_key_in_place_does_not_leave_the_old_value(kind: Any) -> None:
    filled_or_refused(kind, {"w": torch.randn(4)}, {"w": torch.zeros(4), "b": torch.ones(4)})


@BOTH
def test_an_extra_key_in_place_is_not_dropped_in_silence(kind: Any) -> None:
    filled_or_refused(kind, {"w": torch.randn(4), "b": torch.ones(2)}, {"w": torch.zeros(4)})


@pytest.mark.filterwarnings("ignore:Please use DTensor instead")
@BOTH
def test_a_sharded_tensor_is_filled_in_place(kind: Any, default_group: None) -> None:
    sent, live = (a_sharded(fill) for fill in (3.0, 0.0))
    received = build.cross({"w": sent}, {"w": live}, kind, seconds=2)
    assert torch.equal(live.local_shards()[0].tensor, torch.full((4, 2), 3.0))
    assert received["w"].local_shards()[0].tensor.data_ptr() == live.local_shards()[0].tensor.data_ptr()


@pytest.fixture
def default_group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def a_sharded(fill: float) -> Any:
    place = ShardMetadata(shard_offsets=[0, 0], shard_sizes=[4, 2], placement="rank:0/cpu")
    return init_from_local_shards([Shard(tensor=torch.full((4, 2), fill), metadata=place)], 4, 2)


@BOTH
def test_a_tensor_inside_an_object_crosses_as_a_tensor(kind: Any) -> None:
    codec: Any = {"take_apart": vars, "put_together": lambda parts: a.Schedule(**parts)}
    giving, taking = builders_ends.gloo_groups()
    recording = build.Recording(giving)
    with a.registered(a.Schedule, **codec):
        _, received = builders_ends.side_by_side(
            lambda: build.a_transport(recording, kind=kind).send_checkpoint(
                [1], {"it": a.Schedule(1, torch.ones(1 << 18))}
            ),
            lambda: build.a_transport(taking, kind=kind).recv_checkpoint(0),
        )
    assert torch.equal(received["it"].weight, torch.ones(1 << 18))
    assert recording.sent[1] < 10_000, "the header"


@BOTH
def test_a_step_between_two_sends_is_never_mixed_into_the_one_before(kind: Any) -> None:
    state = {f"t{i}": torch.full((4 << 20,), 97.0) for i in range(4)}
    giving, taking = builders_ends.gloo_groups()

    def step(number: int) -> None:
        if number == 3:
            for tensor in state.values():
                tensor.data.fill_(103.0)

    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(build.Recording(giving, step), kind=kind).send_checkpoint([1], state),
        lambda: build.a_transport(taking, kind=kind).recv_checkpoint(0),
    )
    steps = {float(tensor[0]) for tensor in took.values()} if isinstance(took, dict) else {str(took)}
    assert len(steps) == 1, "all of one step, or an error"
    assert isinstance(took, dict) == (gave is None)


def took_long(kind: Any, taking: Any) -> float:
    """Seconds until a receive, allowed half a second of silence, gave up."""
    began = time.monotonic()
    with pytest.raises((CheckpointHealError, RuntimeError)):
        build.a_transport(taking, seconds=0.5, kind=kind).recv_checkpoint(0)
    return time.monotonic() - began


GROUP_SECONDS = 6.0


@BOTH
def test_a_donor_that_stalls_is_given_up_by_the_transports_own_timeout(kind: Any) -> None:
    _, taking = builders_ends.gloo_groups(seconds=GROUP_SECONDS)
    assert took_long(kind, taking) < GROUP_SECONDS - 1


A_COIN_TOSS = pytest.mark.xfail(reason="gloo notices about every second kill", raises=AssertionError, strict=False)


@pytest.mark.parametrize(
    "kind", [pytest.param(PGTransport, id="ours"), pytest.param(Upstream, id="upstream", marks=A_COIN_TOSS)]
)
def test_a_donor_that_is_killed_is_given_up_by_the_transports_own_timeout(kind: Any, tmp_path: Path) -> None:
    def die(number: int) -> None:
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    def donate() -> None:
        torch.set_num_threads(1)  # a forked process has none of its parent's threads
        group = builders_ends.gloo_rank(dist.FileStore(str(tmp_path / "store"), 2), 0, 2, GROUP_SECONDS)
        state = {f"t{i}": torch.ones(4 << 20) for i in range(4)}
        build.a_transport(build.Recording(group, die), kind=kind).send_checkpoint([1], state)

    donor = children.fork(donate)
    taking = builders_ends.gloo_rank(dist.FileStore(str(tmp_path / "store"), 2), 1, 2, GROUP_SECONDS)
    assert took_long(kind, taking) < GROUP_SECONDS - 1
    assert children.wait(donor) == -signal.SIGKILL


@pytest.mark.parametrize("kind", [PGTransport, Upstream], ids=["ours", "upstream"])
def test_a_zero_size_tensor_works_in_both(kind: Any) -> None:
    state = {"none": torch.empty(0, 4), "some": torch.ones(3)}
    assert build.same(build.cross(state, kind=kind), state)
    assert build.same(build.cross(state, {"none": torch.empty(0, 4), "some": torch.zeros(3)}, kind), state)


@BOTH
def test_an_object_is_refused_by_name_and_not_pickled(kind: Any) -> None:
    giving, taking = builders_ends.gloo_groups(seconds=2)
    gave, _ = builders_ends.side_by_side(
        lambda: build.a_transport(giving, kind=kind).send_checkpoint([1], {"a": re.compile("x")}),
        lambda: build.a_transport(taking, kind=kind).recv_checkpoint(0),
    )
    assert "a is a Pattern" in str(gave)


def test_a_silent_sender_is_overdue_by_the_transports_own_timeout() -> None:
    _, taking = builders_ends.gloo_groups(seconds=60)
    began = time.monotonic()
    with pytest.raises(Overdue):
        build.a_transport(taking, seconds=0.5).recv_checkpoint(0)
    assert time.monotonic() - began < 30, "not the group's"


def test_a_silent_receiver_is_overdue_by_the_calls_own_timeout() -> None:
    giving, _ = builders_ends.gloo_groups(seconds=60)
    with pytest.raises(Overdue):
        build.a_transport(giving, seconds=60).send_checkpoint([1], {}, timeout=build.timedelta(seconds=0.5))


def test_after_overdue_a_gloo_group_says_that_it_is_closed() -> None:
    giving, taking = builders_ends.gloo_groups(seconds=60)
    with pytest.raises(Overdue):
        build.a_transport(taking, seconds=0.3).recv_checkpoint(0)
    with pytest.raises(CheckpointHealError):
        build.a_transport(giving, seconds=0.3).send_checkpoint([1], {})
