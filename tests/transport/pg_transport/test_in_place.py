"""Live tensors are filled where they are, with nothing that was not verified."""

import copy
from typing import Any

import pytest
import torch

import builders_classes as a
import builders_ends
import builders_pg as build
from checkpointheal.ends import target as filling
from checkpointheal.errors import PeerRefused, SchemaDiffers
from checkpointheal.manifest import describe


def received_into(target: object, state: object) -> list[Any]:
    giving, taking = builders_ends.gloo_groups()
    return builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], state),
        lambda: build.a_transport(taking, target).recv_checkpoint(0),
    )


def test_live_tensors_keep_their_addresses_and_hold_the_sent_bytes() -> None:
    generator = torch.Generator().manual_seed(2)
    state = {"w": torch.randn(3 << 20, generator=generator), "b": torch.randn(5, generator=generator), "step": 9}
    target = {"w": torch.zeros(3 << 20), "b": torch.nn.Parameter(torch.zeros(5)), "step": 0}
    addresses = [target["w"].data_ptr(), target["b"].data_ptr()]
    state["b"] = torch.nn.Parameter(state["b"])
    _, received = received_into(target, state)
    assert build.same(received, state)
    assert received["w"] is target["w"]
    assert [target["w"].data_ptr(), target["b"].data_ptr()] == addresses
    assert torch.equal(target["w"], state["w"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.randn(4, 6).T,
        lambda: torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        lambda: torch.randn(20)[::2],
        lambda: torch.randn(20)[8:12],
        lambda: torch.randn(0, 3),
        lambda: torch.tensor(1.5),
    ],
    ids=["transposed", "channels last", "every other", "an offset view", "zero-size", "zero-dimensional"],
)
def test_every_layout_is_filled(make: Any) -> None:
    state, target = {"t": make()}, {"t": make()}
    received_into(target, state)
    assert build.same(target, state)


def test_tied_tensors_stay_tied() -> None:
    shared, live = torch.randn(100), torch.zeros(100)
    received_into({"a": live, "b": live, "v": live[10:20]}, {"a": shared, "b": shared, "v": shared[10:20]})
    assert torch.equal(live, shared)


BASE, SEVEN, FLAT = torch.randn(100), torch.zeros(7), torch.zeros(20)
ELSEWHERE: dict[str, tuple[Any, Any]] = {
    "a view at an odd offset into a tensor of its own": ({"w": BASE[5:9], "n": 1}, {"w": torch.zeros(4), "n": 0}),
    "a tensor of its own into a view at an odd offset": ({"w": torch.randn(4)}, {"w": torch.zeros(9)[3:7]}),
    "neighbours in one buffer into tensors of their own": (
        {"a": BASE[:7], "b": BASE[7:20], "c": BASE[3:5]},
        {"a": SEVEN, "b": torch.zeros(13), "c": SEVEN[3:5]},
    ),
    "tensors of their own into neighbours in one buffer": (
        {"a": torch.randn(7), "b": torch.randn(13), "none": torch.empty(0)},
        {"a": FLAT[:7], "b": FLAT[7:], "none": torch.empty(0)},
    ),
}


@pytest.mark.parametrize(("state", "target"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_where_in_its_storage_a_tensor_lies_is_no_difference(state: Any, target: Any) -> None:
    target = copy.deepcopy(target)
    kept = dict(target)
    _, received = received_into(target, state)
    assert build.same(received, state)
    assert all(received[name] is kept[name] for name in state if name != "n")


W = torch.arange(8.0)
TIED = torch.arange(8.0)
DIFFERENCES: dict[str, tuple[Any, Any, str]] = {
    "dtype": ({"w": W}, {"w": torch.zeros(8, dtype=torch.bfloat16)}, "w: dtype is float32, here bfloat16"),
    "shape": ({"w": W}, {"w": torch.zeros(9)}, r"w: shape is \(8,\), here \(9,\)"),
    "stride": ({"w": torch.ones(4, 4)}, {"w": torch.zeros(4, 4).T}, r"w: stride is \(4, 1\), here \(1, 4\)"),
    "a missing key": (
        {"w": W},
        {"w": torch.zeros(8), "b": torch.zeros(2)},
        "b is not in the offered state and is a tensor here",
    ),
    "an extra key": (
        {"w": W, "b": W.clone()},
        {"w": torch.zeros(8)},
        "b is a tensor in the offered state and is not here",
    ),
    "a missing value": ({"w": W}, {"w": torch.zeros(8), "lr": 1}, "lr is not in the offered state and is a value here"),
    "a tie": ({"w": TIED, "v": TIED}, {"w": torch.zeros(8), "v": torch.zeros(8)}, "tie is with v, w, here alone"),
    "no tie": ({"w": W, "v": W.clone()}, dict.fromkeys(("w", "v"), torch.zeros(8)), "tie is alone, here with v, w"),
    "a part of a tie": (
        {"w": TIED, "v": TIED[2:4]},
        {"w": FLAT[:8], "v": FLAT[3:5]},
        "v: tie is with v, w, here with v, w",
    ),
    "an order": (
        {"w": W, "v": W.clone()},
        {"v": torch.zeros(8), "w": torch.zeros(8)},
        "container is ordered w, v, here v",
    ),
    "an empty container": ({"w": W, "e": {"d": []}}, {"w": torch.zeros(8)}, "e: container is a dict, here nothing"),
    "a container that is not there": (
        {"w": W},
        {"w": torch.zeros(8), "e": a.Row()},
        "e: container is nothing, here a ",
    ),
    "a class": ({"w": a.Pair(W, 1)}, {"w": a.Row([torch.zeros(8), 1])}, r"w: container is a builders_classes\.Pair"),
    "inside a class": (
        {"w": a.Row([[W]])},
        {"w": a.Row([(torch.zeros(8),)])},
        r"w\.0: container is a list, here a tuple",
    ),
    "a tensor where a value is": (
        {"w": W, "n": torch.ones(1)},
        {"w": torch.zeros(8), "n": 1},
        "n is a tensor in the offered state",
    ),
    "a deeper container": (
        {"w": [[W], [{}]]},
        {"w": [[torch.zeros(8)], []]},
        r"w\.1\.0: container is a dict, here nothing",
    ),
    "a container": ({"w": [W]}, {"w": (torch.zeros(8),)}, "container"),
}


@pytest.mark.parametrize(("state", "target", "sentence"), DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_a_difference_is_refused_by_name_before_a_byte_crosses(state: Any, target: Any, sentence: str) -> None:
    before = copy.deepcopy(target)
    giving, taking = builders_ends.gloo_groups()
    recording = build.Recording(giving)
    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(recording).send_checkpoint([1], state),
        lambda: build.a_transport(taking, target).recv_checkpoint(0),
    )
    with pytest.raises(SchemaDiffers, match=sentence):
        raise took
    assert isinstance(gave, PeerRefused)
    assert gave.refusal == "SchemaDiffers"
    assert str(took) in str(gave)
    assert len(recording.sent) == 2, "the offer, and nothing else"
    assert build.same(target, before)


def test_a_target_that_cannot_be_filled_frees_the_sender_at_once() -> None:
    gave, took = received_into({"w": torch.eye(3).to_sparse()}, {"w": W})
    assert type(took).__name__ == "UnsupportedLeaf"
    assert isinstance(gave, PeerRefused)
    assert gave.refusal == "UnsupportedLeaf"


class Queued:
    """Stands for what a program has queued on a device's stream: it writes when somebody waits for it, or too late."""

    def __init__(self, into: torch.Tensor, devices: list[str], device: torch.device) -> None:
        self._into, self._devices, self._device = into, devices, device

    def synchronize(self) -> None:
        self._devices.append(str(self._device))
        self._into.fill_(9)


@pytest.mark.parametrize("staged", [False, True])
def test_what_the_program_has_queued_on_a_target_s_devices_is_waited_for_before_anything_is_written(
    staged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, waited = {"w": torch.zeros(3)}, list[str]()

    def on_a_device(state: Any) -> Any:
        described = describe(state)
        described.seen.devices.update({torch.device("cuda", 1), torch.device("xpu", 0)})
        return described

    monkeypatch.setattr(filling, "describe", on_a_device)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Queued(target["w"], waited, device))
    giving, taking = builders_ends.gloo_groups()
    builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], {"w": torch.ones(3)}),
        lambda: build.a_receiver(taking, target, 20, staged=staged).recv_checkpoint(0),
    )
    assert waited == ["cuda:1"]
    assert target["w"].tolist() == [1.0, 1.0, 1.0]
