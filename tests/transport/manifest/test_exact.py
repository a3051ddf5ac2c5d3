"""Whatever a state dict holds comes back exactly: values, types, order, strides, views and ties."""

import dataclasses
import math
import struct
import warnings
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from checkpointheal.errors import UnsupportedLeaf
from checkpointheal.manifest import describe, pack, rebuild, unpack_apart, write_into, write_out
from checkpointheal.manifest.dtypes import ELEMENTS

# torch's own remark, the first time that anybody makes a complex32 tensor.
pytestmark = pytest.mark.filterwarnings("ignore:B?Complex(Half|32) support is experimental")


def through(state):
    """The state after its bytes and its schema have crossed."""
    described = describe(state)
    data = bytearray(described.schema.data_bytes)
    write_out(described, data)
    return rebuild(described.schema, described.values, data)


def same(one, other):
    """Equal in type, order and every bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.stride() == other.stride() and bits(one) == bits(other)
    if isinstance(one, dict):
        return same(list(one), list(other)) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray | np.generic):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, complex):
        return same([one.real, one.imag], [other.real, other.imag])
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    return one == other


def bits(tensor):
    plain = tensor.view(torch.uint8) if tensor.itemsize == 1 else tensor  # int4 can do nothing else
    return tuple(tensor.shape), plain.detach().contiguous().flatten().view(torch.uint8).tolist()


def a_tensor(dtype, shape):
    size = math.prod(shape) * dtype.itemsize
    return torch.randint(0, 2 if dtype is torch.bool else 256, (size,), dtype=torch.uint8).view(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", ELEMENTS, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (5, 7)], ids=str)
def test_every_dtype_and_shape_comes_back_bit_for_bit(dtype, shape):
    state = {"before": torch.ones(3, dtype=torch.uint8), "it": a_tensor(dtype, shape), "after": torch.ones(1)}
    assert same(through(state), state)


def test_of_all_dtypes_of_torch_only_the_quantized_do_not_cross():
    theirs = {each for each in vars(torch).values() if isinstance(each, torch.dtype)}
    assert {each for each in theirs - ELEMENTS.keys() if not str(each).startswith("torch.q")} == set()


LAYOUTS = {
    "transposed": lambda t: t.t(),
    "a column": lambda t: t[:, 2],
    "every other row": lambda t: t[::2],
    "a slice that starts at an odd byte": lambda t: t.flatten()[3:20],
    "expanded": lambda t: t[:1].expand(4, 6),
    "overlapping windows": lambda t: t.flatten().unfold(0, 5, 2),
    "channels last": lambda t: t.reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
    "0-d": lambda t: t[1, 2],
}


@pytest.mark.parametrize("view", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8, torch.complex64], ids=str)
def test_every_layout_comes_back_with_its_strides(view, dtype):
    state = {"it": view(a_tensor(dtype, (4, 6)))}
    assert same(through(state), state)


def test_tied_tensors_cross_once_and_are_tied_again():
    weight = torch.rand(100, 100)
    state = {"one": weight, "two": weight, "row": weight[7]}
    assert describe(state).schema.data_bytes == weight.nbytes
    back = through(state)
    back["one"].zero_()
    assert not back["two"].any()
    assert not back["row"].any()


def test_views_of_one_flat_buffer_cross_as_one_region_of_what_they_cover():
    flat = torch.rand(1000)
    described = describe({"a": flat[:100], "b": flat[100:200], "far": flat[900:]})
    assert list(described.schema.regions.nbytes) == [800, 400 + 900 * 4 % 16]


@given(
    st.lists(
        st.tuples(st.integers(0, 59), st.integers(1, 20), st.sampled_from([torch.float32, torch.int8, torch.float64])),
        min_size=1,
        max_size=6,
    )
)
def test_any_views_of_one_storage_come_back_and_overlap_as_before(views):
    storage = torch.arange(960, dtype=torch.int16).view(torch.uint8)[:1920]
    state = [storage[start * 8 : (start + length) * 8].view(dtype) for start, length, dtype in views]
    back = through({"views": state})["views"]
    assert same(back, state)
    back[0].view(torch.uint8).fill_(7)
    copy = storage.clone()
    start, length, _ = views[0]
    copy[start * 8 : (start + length) * 8] = 7
    expected = [copy[start * 8 : (start + length) * 8].view(dtype) for start, length, dtype in views]
    assert same(back, expected)


# fmt: off
VALUES = [
    None, True, False, 0, -1, 2**200, -(2**63), 0.0, -0.0, 0.1, math.inf, -math.inf, math.nan, 5e-324, 1.7e308,
    complex(-0.0, math.inf), "", "ü\x00\U0001f600", b"", b"\x00\xff", torch.Size([2, 3]), torch.bfloat16,
    torch.device("cpu"), torch.device("cuda:1"), np.float64(0.1), np.int8(-3), np.bool_(True),
    np.arange(6).reshape(2, 3), np.array(["a", "bc"]), np.zeros((0, 3), dtype=np.float16),
    {}, [], (), OrderedDict(), Counter("hello"),
    {1: "a", "1": "b", None: 0, (1, "x"): 3, (True, (2.5,)): 4, (1, 2): 5, 2.5: 6},
    OrderedDict([("z", 1), ("a", 2)]), {"z": 1, "a": 2},
    [[[[]]]], (1, (2, [3, {"x": ()}])), list(range(700)), tuple(range(700)), [2**100] * 40,
]
# fmt: on


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__} {value!r:.30}")
def test_every_plain_value_comes_back_exactly(value):
    assert same(through({"it": value, "more": [value]}), {"it": value, "more": [value]})


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | st.binary()
    | st.lists(st.integers(), min_size=30, max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.booleans() | st.binary(), inner, max_size=4)
        | st.dictionaries(st.text(), inner, max_size=4).map(OrderedDict)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_any_nest_of_plain_values_comes_back_exactly_and_packs_likewise(value):
    assert same(through({"it": value}), {"it": value})
    assert same(unpack_apart(pack({"parts": {"it": value}}), "parts"), ({"parts": {"it": value}}, {}))


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch's remark that these are a prototype
    NEST = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)])
    JAGGED = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], layout=torch.jagged)

UNSUPPORTED = {
    "an object": (object(), r"a\.1\.k is a object"),
    "a function": (len, r"a\.1\.k is a builtin_function_or_method"),
    "a tensor class that says nothing": (
        torch.ones(2).as_subclass(type("Odd", (torch.Tensor,), {})),
        r"a\.1\.k is a Odd",
    ),
    "a conjugate": (
        torch.ones(2, dtype=torch.complex64).conj(),
        r"a\.1\.k is a tensor that is conjugated .*resolve_conj",
    ),
    "a negative": (
        torch.ones(2, dtype=torch.complex64).conj().imag,
        r"a\.1\.k is a tensor that is conjugated or negated",
    ),
    "a nest of tensors": (NEST, r"a\.1\.k is a Tensor of torch.strided .*Nested"),
    "a tensor without memory": (torch._efficientzerotensor((3,)), r"a\.1\.k is a Tensor of .*\(it has no memory\)"),
    "a jagged nest of tensors": (JAGGED, r"a\.1\.k is a NestedTensor"),
    "a default factory of its own": (defaultdict(lambda: 3), r"a\.1\.k is a defaultdict \(its default factory"),
    "a subclass of int": (type("Odd", (int,), {})(3), r"a\.1\.k is a Odd"),
    "a sparse tensor": (torch.eye(3).to_sparse(), r"a\.1\.k is a Tensor of torch.sparse_coo"),
    "a meta tensor": (torch.empty(3, device="meta"), r"a\.1\.k is a Tensor of torch.strided torch.float32 on meta"),
    "an array of objects": (np.array([object()]), r"a\.1\.k is a ndarray \(array of object\).*: give its tolist\(\)$"),
    "an array of texts of any length": (
        np.array(["a"], np.dtypes.StringDType()),
        r"a\.1\.k is a ndarray \(array of StringDType.*: give its tolist\(\)$",
    ),
    "an array of records": (
        np.zeros(2, [("x", "f4")]),
        r"a\.1\.k is a ndarray \(array of .*'x'.*: give its fields one by one",
    ),
    "an array of a dtype whose name says something else": (
        np.zeros(2, np.dtype([])),
        r"a\.1\.k is a ndarray \(of \[\], .*'\|V0', .*: give a tensor of it",
    ),
    "a scalar of such a dtype": (np.zeros(2, np.dtype([]))[0], r"a\.1\.k is a void \(of \[\], .*: give a tensor of it"),
    "a number of 5000 digits": (10**5000, r"a\.1\.k is a int \(Exceeds .*: give hex\(\) of so long a number"),
    "one in a long list": ([10**5000] * 40, r"a\.1\.k is a list \(Exceeds the limit.*: give hex\(\)"),
    "one in a long tuple": ((*range(40), -(10**5000)), r"a\.1\.k is a tuple \(Exceeds the limit"),
    "half a surrogate pair": ("a\udcff", r"a\.1\.k is a text that holds half a surrogate pair.*: .*os\.fsencode"),
}


@pytest.mark.parametrize(("leaf", "sentence"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_a_leaf_that_cannot_cross_is_named_by_path_and_type(leaf, sentence):
    with pytest.raises(UnsupportedLeaf, match=sentence):
        describe({"a": [0, {"k": leaf}]})


def test_a_tensor_that_is_conjugated_where_it_lies_is_found_out_though_it_has_not_moved():
    weight = torch.ones(2, dtype=torch.complex64)
    first = describe({"w": weight})
    with pytest.raises(UnsupportedLeaf, match="conjugated"):
        describe({"w": weight.conj()}, first)


HALVES = {"text": "\udcff", "a tuple": (1, "\udcff"), "numpy's text": np.str_("\udcff")}
CHILDREN = {"a value": 2, "a tensor": torch.ones(2), "nothing": {}}


@pytest.mark.parametrize("key", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize("child", CHILDREN.values(), ids=CHILDREN)
def test_a_key_with_half_a_surrogate_pair_is_named_in_words_that_can_be_written(key, child):
    with pytest.raises(UnsupportedLeaf, match=r"a \(its key .*\\udcff'\)+ is a text that holds half") as told:
        describe({"a": {"before": torch.ones(2), "ä": torch.ones(2), key: child}})
    assert str(told.value).encode()


def test_a_nest_without_end_is_refused():
    endless: list = []
    endless.append(endless)
    with pytest.raises(UnsupportedLeaf, match=r"^a\.0\.0\.0… is a container nested too deeply.*does it hold itself\?$"):
        describe({"a": endless})


def freed():
    weight = torch.ones(3)
    weight.untyped_storage().resize_(0)
    return weight


def quantised():
    return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


HELPS = {
    "sparse": (lambda: torch.eye(3).to_sparse(), r"give its to_dense\(\)"),
    "quantised": (quantised, r"give its dequantize\(\), or its int_repr\(\) and scales$"),
    "nested": (lambda: NEST, r"give its unbind\(\)$"),
    "jagged": (lambda: JAGGED, r"give its unbind\(\)$"),
    "without memory": (lambda: torch._efficientzerotensor((3,)), r"give its clone\(\)$"),
    "without memory any more": (freed, r"give its storage back with resize_\(\), or leave it out$"),
    "meta": (lambda: torch.empty(3, device="meta"), r"call to_empty\(\) on its module"),
    "lazy": (torch.nn.parameter.UninitializedParameter, "by its module's first forward: run one before"),
    "a lazy buffer": (torch.nn.parameter.UninitializedBuffer, "by its module's first forward: run one before"),
}


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(("make", "helps"), HELPS.values(), ids=HELPS)
def test_a_tensor_that_cannot_cross_is_told_with_what_makes_it_one_that_can(make, helps):
    with pytest.raises(UnsupportedLeaf, match=rf"^a\.w is .*, which cannot cross: .*{helps}"):
        describe({"a": {"w": make()}})


def test_parameters_and_their_need_of_gradients_are_told():
    entries = describe({"p": torch.nn.Parameter(torch.ones(2)), "b": torch.ones(2)}).schema.each_tensor
    assert [(entry.kind, entry.requires_grad) for entry in entries] == [("parameter", True), ("tensor", False)]


def test_what_has_not_moved_is_not_described_again_and_what_has_is():
    weight, other = torch.rand(10), torch.rand(10)
    first = describe({"w": weight, "step": 1})
    second = describe({"w": weight, "step": 2}, first)
    assert second.schema is first.schema
    assert second.values != first.values
    for moved in ({"w": other, "step": 2}, {"w": weight[:9], "step": 2}, {"w": weight.view(2, 5), "step": 2}):
        assert describe(moved, first).schema == describe(moved).schema
        assert describe(moved, first).regions[0].data_ptr() == moved["w"].data_ptr()
    with pytest.raises(UnsupportedLeaf):
        describe({"w": weight.to_sparse(), "step": 2}, first)


@given(st.lists(st.integers(0, 300), max_size=8), st.integers(1, 700))
def test_chunks_are_the_data_section_cut_into_pieces(sizes, chunk_bytes):
    described = describe({"all": [torch.full((size,), 1 + i, dtype=torch.uint8) for i, size in enumerate(sizes)]})
    data = bytearray(described.schema.data_bytes)
    write_out(described, data)
    pieces = [bytes(chunk) for chunk in described.chunks(chunk_bytes)]
    assert b"".join(pieces) == data
    assert all(len(piece) == chunk_bytes for piece in pieces[:-1])


class OnDevice(torch.Tensor):
    """Memory of a device, as far as it is not the CPU's: nobody reads it but by a copy."""

    is_cpu = False

    def numpy(self):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


@pytest.mark.parametrize("chunk_bytes", [16, 40, 64, 1000])
def test_chunks_of_a_devices_memory_are_read_by_copies(chunk_bytes):
    described = describe({"w": torch.arange(40, dtype=torch.uint8), "m": torch.arange(64, dtype=torch.uint8)})
    there = dataclasses.replace(described, regions=[each.as_subclass(OnDevice) for each in described.regions])
    pieces = [bytes(chunk) for chunk in there.chunks(chunk_bytes)]
    assert pieces == [bytes(chunk) for chunk in described.chunks(chunk_bytes)]


def test_writing_into_a_live_state_keeps_its_addresses():
    live = {"a": torch.zeros(3, 3), "b": torch.zeros(5, dtype=torch.bfloat16)}
    wanted = {"a": torch.rand(3, 3), "b": torch.rand(5).bfloat16()}
    data = bytearray(describe(wanted).schema.data_bytes)
    write_out(describe(wanted), data)
    addresses = [tensor.data_ptr() for tensor in live.values()]
    write_into(describe(live), data)
    assert same(live, wanted)
    assert [tensor.data_ptr() for tensor in live.values()] == addresses
