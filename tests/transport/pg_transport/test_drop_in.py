"""A program written for PyTorch's PGTransport runs unchanged, and gets back what was sent."""

import math
from collections import OrderedDict
from typing import Any

import pytest
import torch

import builders_ends
import builders_pg as build
from checkpointheal import digest
from checkpointheal.errors import UnsupportedLeaf
from checkpointheal.manifest import describe
from checkpointheal.manifest.dtypes import ELEMENTS


def a_model_state() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 8))
    for parameter in model.parameters():
        parameter.data.normal_(generator=generator)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(16, 64, generator=generator)).sum().backward()
    optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 3}


def test_ring_send_and_receive_on_eight_ranks() -> None:
    groups, state = builders_ends.gloo_groups(8), a_model_state()

    def take_part(rank: int) -> object:
        transport, before, after = build.a_transport(groups[rank]), (rank - 1) % 8, (rank + 1) % 8
        if rank == 0:
            transport.send_checkpoint([after], state)
            return transport.recv_checkpoint(before)
        received = transport.recv_checkpoint(before)
        transport.send_checkpoint([after], received)
        return received

    received = builders_ends.side_by_side(*[lambda rank=rank: take_part(rank) for rank in range(8)])
    plain = {**state, "model": dict(state["model"])}
    for each in received:
        assert build.same({**each, "model": dict(each["model"])}, plain)


def test_one_sender_serves_several_ranks_at_once() -> None:
    groups, state = builders_ends.gloo_groups(4), {"w": torch.arange(5_000_000)}
    received = builders_ends.side_by_side(
        lambda: build.a_transport(groups[0]).send_checkpoint([1, 2, 3], state),
        *[lambda rank=rank: build.a_transport(groups[rank]).recv_checkpoint(0) for rank in (1, 2, 3)],
    )
    assert all(build.same(each, state) for each in received[1:])


def test_a_transport_is_used_again_and_again() -> None:
    giving, taking = builders_ends.gloo_groups()
    sender, receiver = build.a_transport(giving), build.a_transport(taking)
    for step in range(5):
        state = {"step": step, "w": torch.full((1000,), step)}
        _, received = builders_ends.side_by_side(
            lambda state=state: sender.send_checkpoint([1], state), lambda: receiver.recv_checkpoint(0)
        )
        assert build.same(received, state)


@pytest.mark.filterwarnings("ignore:B?Complex(Half|32) support is experimental")
@pytest.mark.parametrize("dtype", ELEMENTS, ids=str)
def test_every_dtype_crosses_bit_by_bit(dtype: torch.dtype) -> None:
    bits = torch.arange(192, dtype=torch.uint8)
    whole = (bits % 2).view(torch.bool) if dtype == torch.bool else bits.view(dtype)
    state = {"whole": whole, "strided": whole[1::2], "offset": whole[2:]}
    received = build.cross(state)
    assert build.same(received, state)
    assert received["whole"].untyped_storage().data_ptr() == received["strided"].untyped_storage().data_ptr()


BASE = torch.arange(24.0)
LAYOUTS = {
    "contiguous": BASE,
    "transposed": BASE.reshape(4, 6).T,
    "channels last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    "every other": BASE[::2],
    "an offset view": BASE[5:9],
    "overlapping": torch.arange(10.0).unfold(0, 4, 2),
    "expanded": torch.ones(1, 3).expand(4, 3),
    "zero-size": torch.empty(0, 4),
    "zero-dimensional": torch.tensor(3.5),
    "a parameter": torch.nn.Parameter(torch.randn(3)),
    "a frozen parameter": torch.nn.Parameter(torch.randn(3), requires_grad=False),
    "with a gradient": torch.randn(3, requires_grad=True),
}


@pytest.mark.parametrize("tensor", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_layout_crosses(tensor: torch.Tensor) -> None:
    assert build.same(build.cross({"t": tensor}), {"t": tensor})


VALUES = {
    "numbers": [0, -1, 2**100, 0.1, -0.0, math.inf, -math.inf, math.nan, 1 + 2j, True, None],
    "text and bytes": ["", "ä", b"", b"\x00\xff"],
    "torch's own": [torch.Size([2, 3]), torch.float8_e5m2, torch.device("cpu"), torch.strided, torch.channels_last],
    "empty containers": [{}, [], (), OrderedDict()],
    "nested": {"a": [{"b": (1, [torch.ones(2)])}], 3: OrderedDict(z=1, a=2)},
    "key order": {"b": 1, "a": 2},
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_values_that_are_not_tensors_come_back_exactly(value: object) -> None:
    assert build.same(build.cross({"value": value}), {"value": value})


def test_a_tensor_is_described_by_shape_dtype_offset_stride_and_bytes() -> None:
    base = torch.arange(24, dtype=torch.int16)
    described = describe({"nested": {"rows": base[2:].view(2, 11).T, "ones": torch.ones(3)}, "value": 1})
    rows, ones = described.schema.each_tensor
    assert (rows.path, rows.dtype, rows.shape, rows.stride) == ("nested.rows", "int16", (11, 2), (1, 11))
    region = described.schema.each_region[rows.region]
    assert (rows.offset, region.nbytes) == (4, 48), "it begins where memory is aligned for any dtype"
    assert described.regions[rows.region].data_ptr() == base.data_ptr()
    assert (ones.path, described.schema.each_region[ones.region].nbytes) == ("nested.ones", 12)
    assert described.schema.value_paths == ("value",)


@pytest.mark.filterwarnings("ignore:B?Complex(Half|32) support is experimental")
@pytest.mark.parametrize("dtype", ELEMENTS, ids=str)
def test_the_bytes_of_a_tensor_share_its_storage(dtype: torch.dtype) -> None:
    memory = torch.zeros(192, dtype=torch.uint8)
    whole = memory.view(dtype)
    for view in (whole, whole[1::2], whole[3:], whole.reshape(2, -1).T):
        (region,) = describe({"t": view}).regions
        assert region.untyped_storage().data_ptr() == memory.untyped_storage().data_ptr()
        assert region.dtype == torch.uint8
        assert region.numel() >= view.numel() * view.element_size()


def sent_for(state: object) -> tuple[list[int], Any]:
    giving, taking = builders_ends.gloo_groups()
    recording = build.Recording(giving)
    _, received = builders_ends.side_by_side(
        lambda: build.a_transport(recording).send_checkpoint([1], state),
        lambda: build.a_transport(taking).recv_checkpoint(0),
    )
    return recording.sent, received


@pytest.mark.parametrize("state", [{}, {"a": 1, "b": ["x", None]}], ids=["empty", "plain values only"])
def test_a_state_without_tensors_is_a_header_only(state: object) -> None:
    sent, received = sent_for(state)
    assert len(sent) == 2
    assert received == state


def test_ten_thousand_small_tensors_share_buckets() -> None:
    state = {f"t{i}": torch.full((16,), float(i)) for i in range(10_000)}
    sent, received = sent_for(state)
    assert build.same(received, state)
    assert sent[2:] == [10_000 * 64]


def test_a_received_tensor_holds_no_more_memory_than_its_own() -> None:
    received = build.cross({"small": torch.ones(4), "large": torch.ones(1 << 20)})
    assert received["small"].untyped_storage().nbytes() == 16


def test_the_callback_is_called_once_per_receive() -> None:
    giving, taking = builders_ends.gloo_groups()
    called: list[int] = []

    def target() -> dict[str, torch.Tensor]:
        called.append(1)
        return {"w": torch.zeros(3)}

    receiver = build.PGTransport(taking, build.timedelta(seconds=20), build.CPU, target)
    for _ in range(2):
        builders_ends.side_by_side(
            lambda: build.a_transport(giving).send_checkpoint([1], {"w": torch.ones(3)}),
            lambda: receiver.recv_checkpoint(0),
        )
    assert len(called) == 2


NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, none is here")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NO_CUDA)])
def test_cpu_tensors_are_staged_where_the_group_wants_them(device: str) -> None:
    giving, taking = build.Exchange.pair()
    state = {"w": torch.arange(3_000_000), "p": torch.nn.Parameter(torch.ones(3)), "n": 1}
    sender, receiver = (
        build.PGTransport(group, build.timedelta(seconds=20), torch.device(device)) for group in (giving, taking)
    )
    _, received = builders_ends.side_by_side(
        lambda: sender.send_checkpoint([1], state), lambda: receiver.recv_checkpoint(0)
    )
    assert build.same(received, state), "on the CPU, as PyTorch's own gives them"
    assert giving.devices == taking.devices == {device}


def test_nothing_is_sent_to_nobody() -> None:
    build.a_transport(None).send_checkpoint([], {"w": torch.ones(3)})


class Strange:
    pass


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"a": {"b": Strange()}}, "a.b is a Strange"),
        ({"a": torch.eye(3).to_sparse()}, "a is a Tensor of torch.sparse_coo"),
        ({"a": torch.empty(3, device="meta")}, "a is a Tensor of torch.strided torch.float32 on meta"),
        ({"a": "\udcff"}, "a is a text that holds half a surrogate pair"),
    ],
    ids=["an object", "a sparse tensor", "a meta tensor", "half a surrogate pair"],
)
def test_a_leaf_that_cannot_cross_is_named_on_both_sides(state: object, sentence: str) -> None:
    giving, taking = builders_ends.gloo_groups()
    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], state),
        lambda: build.a_transport(taking).recv_checkpoint(0),
    )
    assert isinstance(gave, UnsupportedLeaf)
    assert sentence in str(gave)
    assert f"UnsupportedLeaf: {sentence}" in str(took)


def test_a_state_that_cannot_be_offered_frees_who_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    giving, taking = builders_ends.gloo_groups(seconds=60)

    def fail(*_: object) -> str:
        raise MemoryError("no more")

    def give() -> None:
        with pytest.raises(MemoryError):
            build.a_transport(giving).send_checkpoint([1], {"n": 1})

    monkeypatch.setattr(digest, "schema_digest", fail)
    _, took = builders_ends.side_by_side(give, lambda: build.a_transport(taking, seconds=5).recv_checkpoint(0))
    assert "Misuse: MemoryError: no more" in str(took)
