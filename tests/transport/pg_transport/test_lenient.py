"""With `strict=False` a target takes what bears its names, as `load_state_dict` would; nothing is guessed."""

import copy
from typing import Any

import pytest
import torch

import builders_classes as a
import builders_ends
import builders_pg as build
from checkpointheal import PGTransport
from checkpointheal.errors import PeerRefused, SchemaDiffers


def bridged(target: Any, state: Any) -> tuple[Any, Any, list[int]]:
    """What was received or the error, what the transport says was bridged, and the bytes of each message."""
    giving, taking = builders_ends.gloo_groups()
    recording = build.Recording(giving)
    receiver = PGTransport(taking, build.timedelta(seconds=20), build.CPU, lambda: target, strict=False)
    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(recording).send_checkpoint([1], state), lambda: receiver.recv_checkpoint(0)
    )
    assert isinstance(gave, PeerRefused) == isinstance(took, Exception)
    return took, [str(each) for each in receiver.differences], recording.sent


def test_missing_names_keep_the_targets_value_and_extra_ones_are_skipped() -> None:
    target = {"w": torch.zeros(3), "only": torch.full((2,), 7.0), "lr": 0.5, "kept": "mine"}
    received, differences, _ = bridged(target, {"w": torch.ones(3), "extra": torch.ones(9), "lr": 0.1, "new": 1})
    assert build.same(received, {"w": torch.ones(3), "only": torch.full((2,), 7.0), "lr": 0.1, "kept": "mine"})
    assert received["w"] is target["w"]
    assert differences == [
        "only is not in the offered state and is a tensor here",
        "extra is a tensor in the offered state and is not here",
        "kept is not in the offered state and is a value here",
        "new is a value in the offered state and is not here",
    ]


def test_chunks_of_names_that_nobody_wants_do_not_cross() -> None:
    state = {"a": torch.ones(1 << 20), "extra": torch.ones(8 << 20), "z": torch.ones(1 << 20)}
    received, _, sent = bridged({"a": torch.zeros(1 << 20), "z": torch.zeros(1 << 20)}, state)
    assert build.same(received, {"a": state["a"], "z": state["z"]})
    assert sum(sent[2:]) == 2 * (8 << 20), "the first chunk and the last of five, with what else lies in them"


def test_nothing_in_common_leaves_all_as_it_is() -> None:
    received, _, sent = bridged({"w": torch.zeros(3)}, {"v": torch.ones(3)})
    assert build.same(received, {"w": torch.zeros(3)})
    assert len(sent) == 2, "the offer, and nothing else"


CONVERTED = {
    "float32 to bfloat16": (torch.tensor([1.5, -2.25]), torch.zeros(2, dtype=torch.bfloat16)),
    "bfloat16 to float32": (torch.tensor([1.5, -2.25], dtype=torch.bfloat16), torch.zeros(2)),
    "float32 to float8": (torch.tensor([1.5, -2.0]), torch.zeros(2, dtype=torch.float8_e5m2)),
    "int64 to float64": (torch.tensor([1, -2]), torch.zeros(2, dtype=torch.float64)),
    "float32 to complex64": (torch.tensor([1.5, -2.0]), torch.zeros(2, dtype=torch.complex64)),
    "another stride": (torch.arange(12.0).reshape(3, 4), torch.zeros(4, 3).T),
    "a parameter": (torch.arange(3), torch.nn.Parameter(torch.zeros(3))),
    "channels last": (torch.randn(2, 3, 4, 5), torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)),
}


@pytest.mark.parametrize(("sent", "live"), CONVERTED.values(), ids=CONVERTED)
def test_dtypes_and_strides_are_converted_as_copy_does(sent: Any, live: Any) -> None:
    live, expected = copy.deepcopy(live), copy.deepcopy(live)
    with torch.no_grad():
        expected.copy_(sent)
    received, differences, _ = bridged({"w": live}, {"w": sent})
    assert received["w"] is live
    assert build.same(live, expected)
    assert differences


@pytest.mark.parametrize("more", [{}, {"unwanted": torch.ones(9)}], ids=["all of it", "some of it"])
def test_each_of_several_tensors_is_converted_from_its_own_bytes(more: Any) -> None:
    target = {"a": torch.zeros(5), "b": torch.zeros(3, dtype=torch.bfloat16), "c": torch.zeros(4, 3).T}
    sent = {"a": torch.arange(5.0), "b": torch.tensor([1.5, -2.25, 3.0]), "c": torch.arange(12.0).reshape(3, 4)}
    received, _, _ = bridged(target, {**more, **sent})
    assert [received[name].float().tolist() for name in sent] == [tensor.tolist() for tensor in sent.values()]


def test_the_containers_are_the_targets_own() -> None:
    received, _, _ = bridged({"it": a.Pair(torch.zeros(2), 0)}, {"it": {"left": torch.ones(2), "right": 4}})
    assert build.same(received, {"it": a.Pair(torch.ones(2), 4)})


def test_tied_tensors_of_the_donor_go_into_separate_ones() -> None:
    shared = torch.ones(3)
    received, _, _ = bridged({"a": torch.zeros(3), "b": torch.zeros(3)}, {"a": shared, "b": shared})
    assert build.same(received, {"a": shared, "b": shared})
    assert received["a"].data_ptr() != received["b"].data_ptr()


LIVE = torch.zeros(4)
HALF = torch.zeros(4, dtype=torch.bfloat16)
ONE = torch.arange(4.0)


@pytest.mark.parametrize("live", [LIVE, HALF], ids=["as it is", "converted"])
def test_tied_tensors_of_both_stay_tied(live: torch.Tensor) -> None:
    live = live.clone()
    received, _, _ = bridged({"a": live, "b": live, "only": 1}, {"a": ONE, "b": ONE})
    assert torch.equal(received["a"].float(), ONE)
    assert received["b"] is live


def test_views_of_one_buffer_go_where_they_are_views_of_one_buffer() -> None:
    live = torch.zeros(8)
    sent = torch.arange(16.0)
    received, _, _ = bridged({"a": live[:4], "b": live[2:], "n": 1}, {"a": sent[8:12], "b": sent[10:16]})
    assert torch.equal(live[:2], sent[8:10])
    assert torch.equal(received["b"], sent[10:16])


def full(number: int) -> torch.Tensor:
    return torch.full((2,), float(number))


ALIKE: dict[str, tuple[Any, Any, Any]] = {
    "a number and a text": ({"1": full(5), 1: full(6)}, {1: full(0), "1": full(0)}, {1: full(6), "1": full(5)}),
    "a name with a dot": (
        {"a.b": full(5), "a": {"b": full(6)}}, {"a": {"b": full(0)}, "a.b": full(0)},
        {"a": {"b": full(6)}, "a.b": full(5)},
    ),
    "one of them alone": ({"a": {"b": full(5)}, "a.b": full(6)}, {"a.b": full(0)}, {"a.b": full(6)}),
    "the other of them alone": (
        {"a.b": full(6)}, {"a": {"b": full(1)}, "a.b": full(0)}, {"a": {"b": full(1)}, "a.b": full(6)},
    ),
    "values": ({"1": 5, 1: 6}, {1: 0, "1": 0}, {1: 6, "1": 5}),
    "many in a row": (
        {str(n): full(n) for n in range(9)} | {1: full(11)}, {1: full(0)} | {str(n): full(0) for n in range(9)},
        {1: full(11)} | {str(n): full(n) for n in range(9)},
    ),
    "inside of objects": (
        {"it": a.Pair({"1": full(5), 1: full(6)}, [full(7)]), "n": 1},
        {"it": a.Pair({1: full(0), "1": full(0)}, [full(0)])},
        {"it": a.Pair({1: full(6), "1": full(5)}, [full(7)])},
    ),
    "other shapes": (
        {"1": torch.ones(4), 1: torch.ones(3)}, {1: torch.zeros(3), "1": torch.zeros(4)},
        {1: torch.ones(3), "1": torch.ones(4)},
    ),
    "an enum that is written as a number": (
        {a.Level.LOW: full(5), "1": full(6)}, {"1": full(0), 1: full(0)}, {"1": full(6), 1: full(5)},
    ),
    "places and numbers": (
        {1: [full(5), full(6)], "1": full(7)}, {"1": {0: full(0), 1: full(0)}, 1: full(0)},
        {"1": {0: full(5), 1: full(6)}, 1: full(7)},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "live", "expected"), ALIKE.values(), ids=ALIKE)
def test_names_that_look_alike_are_told_apart_by_their_keys(sent: Any, live: Any, expected: Any) -> None:
    received, _, _ = bridged(copy.deepcopy(live), sent)
    assert build.same(received, expected)


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "another shape": ({"w": torch.ones(3)}, {"w": torch.zeros(4)}, r"w: shape is \(3,\), here \(4,\)"),
    "two values for one memory": (
        {"a": torch.ones(4), "b": torch.zeros(4)}, {"a": LIVE, "b": LIVE}, "b: tie is alone, here with a: one memory",
    ),
    "two values for overlapping memory": (
        {"a": ONE[:2], "b": torch.zeros(3)}, {"a": LIVE[:2], "b": LIVE[1:]}, "b: tie is alone, here with a",
    ),
    "views that lie otherwise": (
        {"a": ONE[:2], "b": ONE[:3]}, {"a": LIVE[:2], "b": LIVE[1:]}, "b: tie is alone, here with a",
    ),
    "views that lie otherwise and are converted": (
        {"a": ONE[:2], "b": ONE[1:]}, {"a": HALF[:2], "b": HALF[1:]}, "b: tie is alone, here with a",
    ),
    "elements that share memory": (
        {"w": torch.ones(4, dtype=torch.float64)}, {"w": torch.zeros(1).expand(4)}, "w: stride .* whose elements share",
    ),
    "a dtype that loses": (
        {"w": torch.ones(2, dtype=torch.complex64)}, {"w": torch.zeros(2)}, "w: dtype is complex64, .* not cast it",
    ),
    "a dtype that torch only holds": (
        {"w": torch.ones(2)}, {"w": torch.zeros(2, dtype=torch.uint8).view(torch.uint4)}, "w: dtype .* here uint4",
    ),
    "names that nothing tells apart": (
        {"a.b.c": torch.ones(2), "a.b": {"c": torch.zeros(2)}}, {"a": {"b": {"c": torch.zeros(2)}}},
        r"a\.b\.c: container is 2 of that name, under other keys, here 1 of that name",
    ),
    "another context": ({"w": a.a_wrapped(block=4)}, {"w": a.a_wrapped(block=2)}, "w: context is"),
}  # fmt: skip


@pytest.mark.parametrize(("state", "target", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_bridged_is_refused_by_name_before_a_byte_crosses(
    state: Any, target: Any, sentence: str
) -> None:
    took, _, sent = bridged(target, state)
    with pytest.raises(SchemaDiffers, match=sentence):
        raise took
    assert len(sent) == 2, "the offer, and nothing else"


def test_a_dtype_that_torch_only_holds_goes_as_it_is() -> None:
    bits = torch.arange(8, dtype=torch.uint8)
    received, _, _ = bridged(
        {"w": torch.zeros(8, dtype=torch.uint8).view(torch.uint4), "n": 1}, {"w": bits.view(torch.uint4)}
    )
    assert torch.equal(received["w"].view(torch.uint8), bits)


def test_a_wrapped_tensor_and_a_dict_by_names_are_filled_inside() -> None:
    live = a.a_wrapped(0.0)
    received, _, _ = bridged({"w": live, "n": 1}, {"w": a.a_wrapped(3.0)})
    assert received["w"] is live
    assert live.scale.tolist() == [3.0, 3.0]


def test_without_differences_there_is_nothing_to_tell() -> None:
    received, differences, _ = bridged({"w": torch.zeros(3)}, {"w": torch.ones(3)})
    assert torch.equal(received["w"], torch.ones(3))
    assert differences == []
