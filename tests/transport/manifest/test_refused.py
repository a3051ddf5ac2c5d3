"""A schema or a packed state that somebody else wrote adds up, or is refused with a reason; it never does harm."""

import copy
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from builders_classes import Pair
from checkpointheal.contract.layout import Schema
from checkpointheal.errors import BadFrame, BytesDiffer, SchemaDiffers, UnknownVersion
from checkpointheal.manifest import compare, describe, pack, packed, rebuild, unpack_apart
from checkpointheal.manifest.lenient import plan

WEIGHT = torch.arange(24.0).reshape(4, 6)
STATE = {"w": WEIGHT, "v": WEIGHT[1], "b": torch.ones(3, dtype=torch.bfloat16), "step": 3, "more": [1.5, None]}
DESCRIBED = describe(STATE)
RAW = DESCRIBED.schema.model_dump(mode="json")


def refusal(raw, values=DESCRIBED.values, data=None):
    """Why it is refused; None where it is not."""
    section = bytearray(DESCRIBED.schema.data_bytes) if data is None else data
    try:
        rebuild(Schema.model_validate(raw), values, section)
    except (BadFrame, ValidationError) as error:
        return str(error)
    return None


def changed(*path, to):
    raw = copy.deepcopy(RAW)
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return raw


OUTER = {"shape": [2], "stride": [1]}
PLACE = {"offsets": [0], "sizes": [4], "holder": "rank:0/cpu"}
SHARDING = {
    "global_shape": [4], "dtype": "float32", "requires_grad": False, "memory_format": "contiguous_format",
    "pinned": False, "strides": [1], "shards": [PLACE], "local": [PLACE],
}  # fmt: skip
HOSTILE = {
    "a dtype that is none": (("forms", 0, "dtype"), "float33", "dtype 'float33'"),
    "a dtype that is another thing of torch": (("forms", 0, "dtype"), "save", "dtype 'save'"),
    "a region that is not there": (("tensors", "regions", 0), 9, "lies in region 9 of 2"),
    "a form that is not there": (("tensors", "forms", 1), 9, "has form 9 of 3"),
    "a negative form": (("tensors", "forms", 1), -1, "greater than or equal to 0"),
    "tensors without an offset": (("tensors", "offsets"), [0], "different lengths"),
    "tensors without a form": (("tensors", "forms"), [], "different lengths"),
    "a region without a dtype": (("regions", "dtypes"), ["F32"], "1 regions have a dtype, 2 have a length"),
    "a region without end": (("regions", "nbytes", 0), 2**62, f"end at byte {2**62 + 6}"),
    "a region of negative length": (("regions", "nbytes", 0), -1, "greater than or equal to 0"),
    "a longer data section": (("data_bytes",), 2**40, "the data section at 1099511627776"),
    "a tensor past its region": (("tensors", "offsets", 0), 4, "past the end"),
    "a shape past its region": (("forms", 0, "shape"), [2**40, 6], "past the end"),
    "a negative shape": (("forms", 0, "shape"), [-4, 6], "greater than or equal to 0"),
    "a negative stride": (("forms", 0, "stride"), [-6, 1], "greater than or equal to 0"),
    "a stride past its region": (("forms", 0, "stride"), [7, 1], "past the end"),
    "strides of another rank": (("forms", 0, "stride"), [1], "2 dimensions and 1 strides"),
    "an offset between elements": (("tensors", "offsets", 1), 2, "not aligned"),
    "gradients of integers": (
        ("forms", 2), {**RAW["forms"][2], "dtype": "uint8", "requires_grad": True}, "which no uint8 can have",
    ),
    "elements without number": (
        ("forms", 0), {**RAW["forms"][0], "shape": [2**40, 2**40], "stride": [0, 0]}, "more elements than torch",
    ),
    "no elements, in endless rows": (
        ("forms", 0), {**RAW["forms"][0], "shape": [0, 2**62], "stride": [2**70, 1]}, "more elements than torch",
    ),
    "a tree that names a tensor twice": (("tree",), {"l": [{"T": 0}, {"T": 0}]}, "names 2 tensors"),
    "a tree that names no tensor": (("tree",), {"l": []}, "names 0 tensors"),
    "a tree with a foreign tag": (("tree",), {"os.system": ["ls"]}, "none of ours"),
    "a tree that is no node": (("tree",), [1], "no node of ours"),
    "a tree whose tensor is no number": (("tree",), {"T": "0"}, "without children"),
    "a tree whose tensor is a truth": (("tree",), {"T": True}, "without children"),
    "a tree without end": (("tree",), None, "no node of ours"),
    "a run of too many tensors": (("tree",), {"l": [{"R": [0, 10**12]}]}, "names 1000000000000 tensors"),
    "a run again and again": (("tree",), {"l": [{"R": [0, 3]}] * 1000}, "names 6 tensors"),
    "a run of others": (("tree",), {"l": [{"R": [7, 3]}]}, "names 3 tensors"),
    "a run before the first": (("tree",), {"l": [{"R": [-1, 3]}]}, "none of ours"),
    "a run that has no container": (("tree",), {"R": [0, 3]}, "none of ours"),
    "a run as a value": (("tree",), {"d": [["a", {"R": [0, 3]}]]}, "none of ours"),
    "a run of keys without tensors": (("tree",), {"d": [[["a", "b", "c"], {"T": 0}]]}, "that name no tensors"),
    "a run of keys that are no text": (("tree",), {"d": [[["a", {"i": "1"}, "c"], {"R": 0}]]}, "that name no tensors"),
    "a run of more keys than tensors": (("tree",), {"d": [[list("abcd"), {"R": 0}]]}, "names 4 tensors"),
    "a run with a key twice": (("tree",), {"d": [[list("aba"), {"R": 0}]]}, "a key twice"),
    "a run with a key of another": (("tree",), {"d": [["a", {"V": 0}], [list("abc"), {"R": 0}]]}, "a key twice"),
    "a mapping without pairs": (("tree",), {"d": [1]}, "no pairs"),
    "a mapping with a list as a key": (("tree",), {"d": [[{"ints": [1]}, {"T": 0}]]}, "with a list as a key"),
    "a list inside of a key": (("tree",), {"d": [[{"tu": [{"ints": [1]}]}, {"T": 0}]]}, "with a tuple as a key"),
    "an object without a name": (("tree",), {"c": [3, {"T": 0}]}, "by what is no name"),
    "an object with an endless name": (("tree",), {"c": ["x" * 257, {"T": 0}]}, "by what is no name"),
    "an object with more than its parts": (("tree",), {"c": ["a", {"T": 0}, {"T": 1}]}, "with 3 parts of 2"),
    "a key of an object without a name": (("tree",), {"d": [[{"en": [[], "A"]}, {"T": 0}]]}, "by what is no name"),
    "a tensor of tensors without names": (("tree",), {"x": ["a", {"K": None}, {"l": []}, OUTER]}, "without names"),
    "a tensor of tensors without outside": (("tree",), {"x": ["a", {"K": None}, {"d": []}, {}]}, "as no Outer is"),
    "a constant that is no value": (("tree",), {"l": [{"K": 3}]}, "no value of ours"),
    "a DTensor without outside": (("tree",), {"dt": [{"shape": -1}, {"T": 0}]}, "as no Outer is"),
    "a sharded tensor without sharding": (("tree",), {"sh": [{}, []]}, "as no Sharding is"),
    "a sharded tensor with other shards": (("tree",), {"sh": [SHARDING, []]}, "other shards than it says"),
    "a sharded tensor without a list": (("tree",), {"sh": [SHARDING, {"T": 0}]}, "other shards than it says"),
    "a mapping with a key twice": (("tree",), {"d": [["a", {"T": 0}], ["a", {"T": 1}]]}, "a key twice"),
    "a mapping whose key is no value": (("tree",), {"d": [[{"os": 1}, {"T": 0}]]}, "no value of ours"),
    "value paths of another number": (("value_paths",), [], "values of 0"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "to", "sentence"), HOSTILE.values(), ids=HOSTILE)
def test_a_schema_that_does_not_add_up_is_refused_with_its_reason(path, to, sentence):
    assert sentence in (refusal(changed(*path, to=to)) or "it was accepted")


def test_the_schema_itself_is_accepted():
    assert refusal(RAW) is None


def test_a_deep_tree_is_refused():
    tree = {"T": 0}
    for _ in range(100):
        tree = {"l": [tree]}
    assert "no node of ours" in refusal(changed("tree", to=tree))


@pytest.mark.parametrize("length", [0, DESCRIBED.schema.data_bytes - 1, DESCRIBED.schema.data_bytes + 1])
def test_a_data_section_of_another_length_is_refused(length):
    assert f"has {length} bytes" in refusal(RAW, data=bytearray(length))


VALUES = [
    {"i": "x"}, {"i": "9" * 5000}, {"f": "0x1p99999"}, {"f": None}, {"c": []}, {"c": [1, 2]}, {"b": "!"}, {"ints": 3},
    {"ints": [{}]}, {"run": "ab"}, {"np": []}, {"np": ["O", [1], "AAAAAAAAAAA="]}, {"np": ["<f4", [2], "AAAAAA=="]},
    {"np": ["<f4", [-7], "AAAAAA=="]}, {"np": ["nonsense", [1], "AA=="]}, {"np": ["<f4", [10**30], ""]}, {"n": 3},
    {"np": ["i4,(01)i4", [1], "AAAAAAAAAAA="]}, {"np": ["(2,)i4", [1], "AAAAAAAAAAA="]}, {"np": [3, [1], "AA=="]},
    {"n": {"np": ["O", [], ""]}}, {"size": "a"}, {"size": [-1, "b"]}, {"dtype": "save"}, {"dtype": 3}, {"tu": [3]},
    {"device": "x:y"}, {"f": "nan:00"}, {"device": 99}, {"pickle": "gASVBQ=="}, {}, {"i": "1", "f": "1"},
    [1], 1, 1.5,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{value!r:.40}")
def test_a_value_that_cannot_be_read_is_refused(value):
    assert refusal(RAW, values=(value, *DESCRIBED.values[1:])) is not None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def places(node, path=()):
    """Every place in a nest of JSON."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield from places(child, (*path, key))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([path for path in places(RAW) if path]), JSON)
def test_any_change_anywhere_is_refused_or_stays_inside_the_data_section(path, to):
    raw = changed(*path, to=to)
    if refusal(raw) is not None:
        return
    schema = Schema.model_validate(raw)
    section = torch.zeros(schema.data_bytes, dtype=torch.uint8)
    rebuild(schema, DESCRIBED.values, section)
    for entry in schema.each_tensor:
        region = schema.each_region[entry.region]
        assert region.offset + entry.offset <= len(section)


@given(JSON)
def test_any_value_is_read_or_refused(value):
    refusal(RAW, values=(value, *DESCRIBED.values[1:]))


BLOB = pack(STATE)
HEAD = 16


@pytest.mark.parametrize("length", [0, 3, HEAD - 1, HEAD, HEAD + 10, len(BLOB) - 1])
def test_a_packed_state_that_was_cut_is_refused(length):
    with pytest.raises((BadFrame, BytesDiffer)):
        unpack_apart(BLOB[:length], "parts")


def test_a_packed_state_of_another_kind_version_or_size_is_refused(monkeypatch):
    with pytest.raises(BadFrame, match="no packed state"):
        unpack_apart(b"ABCD" + BLOB[4:], "parts")
    with pytest.raises(UnknownVersion, match="version 7"):
        unpack_apart(BLOB[:4] + struct.pack("<H", 7) + BLOB[6:], "parts")
    with pytest.raises(BadFrame, match="claims"):
        unpack_apart(BLOB[:8] + struct.pack("<Q", 2**63) + BLOB[16:], "parts")
    monkeypatch.setattr(packed, "LIMIT", len(BLOB) - 1)
    with pytest.raises(BadFrame, match="are read"):
        unpack_apart(BLOB, "parts")


def test_a_plain_value_of_a_packed_state_that_changed_is_refused():
    one = BLOB.index(b'{"i":"3"}')
    with pytest.raises(BytesDiffer, match="head is not the one that was packed"):
        unpack_apart(BLOB[:one] + b'{"i":"7"}' + BLOB[one + 9 :], "parts")


def test_a_packed_state_of_an_older_build_has_no_check_and_is_read():
    blob = pack({"beside": 1})
    older = blob[:6] + bytes(2) + blob[8:]
    assert blob[6:8] != bytes(2)
    assert unpack_apart(older, "parts") == ({"beside": 1, "parts": {}}, {})


@pytest.mark.parametrize("state", [[1, 2], {"parts": 1}, {"parts": [1, {}]}], ids=["a list", "a value", "no mapping"])
def test_a_packed_state_that_is_no_mapping_of_mappings_is_not_unpacked_by_its_entries(state):
    with pytest.raises(BadFrame, match="no mapping of mappings"):
        unpack_apart(pack(state), "parts")


def test_what_cannot_be_made_is_left_out_of_a_packed_state_and_the_rest_is_whole():
    many = {f"tensor {at}": torch.full((2,), float(at)) for at in range(9)}
    blob = pack({"parts": {**many, "odd": {"deep": [Pair(1, 2)]}, "plain": 3}, "beside": [1.5]})
    state, left = unpack_apart(blob, "parts")
    assert {key: str(error).partition(",")[0] for key, error in left.items()} == {
        "odd": "odd.deep.0 is a builders_classes.Pair"
    }
    assert state["beside"] == [1.5]
    assert list(state["parts"]) == [*many, "plain"]
    assert torch.equal(state["parts"]["tensor 8"], many["tensor 8"])
    assert unpack_apart(pack({"beside": 1}), "parts") == ({"beside": 1, "parts": {}}, {})


@given(st.integers(0, len(BLOB) - 1), st.integers(1, 255))
def test_any_byte_of_a_packed_state_that_changes_is_refused_or_changes_no_tensor(position, difference):
    damaged = bytearray(BLOB)
    damaged[position] ^= difference
    try:
        state, _ = unpack_apart(bytes(damaged), "parts")
    except (BadFrame, BytesDiffer, UnknownVersion):
        return
    assert position < len(BLOB) - DESCRIBED.schema.data_bytes, "a byte of a tensor went through"
    assert state is not None


def other(**changes):
    return describe({**STATE, **changes}).schema


DIFFERENCES = {
    "missing": ({"extra": torch.ones(1)}, "extra is not in the offered state and is a tensor here"),
    "dtype": ({"b": torch.ones(3)}, "b: dtype is bfloat16, here float32"),
    "shape": ({"b": torch.ones(4, dtype=torch.bfloat16)}, "b: shape is (3,), here (4,)"),
    "stride": ({"w": WEIGHT.t().contiguous().t(), "v": STATE["v"]}, "w: stride is (6, 1), here (1, 4)"),
    "tie": ({"v": WEIGHT[1].clone()}, "v: tie is with v, w, here alone"),
    "tie elsewhere": ({"v": WEIGHT[2]}, "v: tie is with v, w, here with v, w"),
    "value": ({"more": [1.5]}, "more.1 is a value in the offered state and is not here"),
    "container": ({"more": (1.5, None)}, "more: container is a list, here a tuple"),
}


@pytest.mark.parametrize(("changes", "sentence"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_each_difference_between_two_states_is_named(changes, sentence):
    assert sentence in [str(difference) for difference in compare(DESCRIBED.schema, other(**changes))]


@pytest.mark.parametrize(("keys", "more"), [("abcd", ""), ("abcde", ", …")])
def test_another_order_of_keys_is_told_by_the_first_four(keys, more):
    offered, target = (describe({"m": dict.fromkeys(each, 1)}).schema for each in (keys, keys[::-1]))
    told = [f"m: container is ordered a, b, c, d{more}, here {', '.join(keys[::-1][:4])}{more}"]
    assert [str(each) for each in compare(offered, target)] == told


def test_neighbours_in_one_storage_are_tied_to_nobody_but_make_another_data_section():
    flat = torch.arange(8.0)
    apart = describe({"a": flat[:4].clone(), "b": flat[4:].clone()}).schema
    neighbours = describe({"a": flat[:4], "b": flat[4:]}).schema
    assert compare(neighbours, apart, memory=False) == ()
    told = [str(each) for each in compare(neighbours, apart)]
    assert "b: storage is byte 16 of 32 in storage 0, here byte 0 of 16 in storage 1" in told


def test_a_tensor_with_another_name_than_its_place_has_differs_though_every_place_is_the_same():
    schema = Schema.model_validate(changed("tensors", "paths", 2, to="w"))
    told = ["b: container is a tensor named w, here a tensor"]
    assert [str(each) for each in compare(schema, DESCRIBED.schema)] == told
    assert [str(each) for each in plan(schema, DESCRIBED.schema).bridged] == told


def test_tensors_of_one_name_are_paired_with_all_that_they_are():
    offered, target = (describe({1: torch.ones(3), "1": torch.ones(n)}).schema for n in (4, 4))
    assert plan(offered, target).refused == ()
    offered = describe({"1": torch.ones(4), 1: torch.ones(3)}).schema
    assert plan(offered, target).refused == ()
    offered = describe({"1": torch.ones(3), 1: torch.ones(4)}).schema
    assert {each.what for each in plan(offered, target).refused} == {"shape"}


def test_other_values_of_the_same_kind_are_no_difference():
    assert compare(DESCRIBED.schema, other(step=4, more=[2.5, "x"])) == ()


def test_a_tensor_that_is_not_there_on_this_side_is_unexpected():
    target = describe({key: value for key, value in STATE.items() if key != "b"}).schema
    assert [(d.path, d.what) for d in compare(DESCRIBED.schema, target)] == [("b", "unexpected")]


def test_many_differences_are_counted_in_the_sentence():
    target = describe({f"t{i}": torch.ones(1) for i in range(20)}).schema
    error = SchemaDiffers(compare(DESCRIBED.schema, target))
    assert "and " in str(error).rpartition(";")[2]
    assert len(error.differences) == 26
