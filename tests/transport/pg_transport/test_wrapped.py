"""A tensor class that wraps other tensors crosses through `__tensor_flatten__`; one that does not say is refused."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard

import builders_classes as a
import builders_ends
import builders_pg as build
from checkpointheal.errors import BadFrame, PeerRefused, SchemaDiffers, UnknownClass, UnsupportedLeaf
from checkpointheal.manifest import describe, pack, rebuild, unpack_apart


def parts(tensor: Any) -> tuple[Any, ...]:
    return type(tensor), tensor.values_.tolist(), tensor.scale.tolist(), tensor.block


def test_a_wrapped_tensor_is_rebuilt_by_a_registered_class() -> None:
    sent = a.a_wrapped(3.0)
    with a.registered(a.Wrapped, a.Colour):
        received = build.cross({"w": sent, "tied": sent.scale})
    assert parts(received["w"]) == parts(sent)
    assert received["w"].shape == sent.shape
    assert received["w"].scale.data_ptr() == received["tied"].data_ptr()


@pytest.mark.parametrize("needs", [True, False])
def test_a_wrapped_parameter_comes_back_a_parameter(needs: bool) -> None:
    with a.registered(a.Wrapped, a.Colour):
        received = build.cross({"w": torch.nn.Parameter(a.a_wrapped(3.0), requires_grad=needs)})["w"]
    assert isinstance(received, torch.nn.Parameter)
    assert received.requires_grad is needs
    assert received.values_.tolist() == a.a_wrapped(3.0).values_.tolist()


def test_a_wrapped_tensor_is_filled_in_place_by_the_targets_own_class() -> None:
    live = a.a_wrapped(0.0)
    inside = live.values_, live.scale
    received = build.cross({"w": a.a_wrapped(3.0)}, {"w": live})
    assert received["w"] is live
    assert (live.values_, live.scale) == inside
    assert parts(live) == parts(a.a_wrapped(3.0))


def test_a_wrapped_tensor_of_an_unknown_class_is_refused_by_name() -> None:
    with (
        a.registered(a.Colour),
        pytest.raises(UnknownClass, match=r"w is a builders_classes\.Wrapped, which is not known"),
    ):
        build.cross({"w": a.a_wrapped()})


def test_a_constant_that_differs_is_refused_by_name() -> None:
    with pytest.raises(SchemaDiffers, match=r"w: context is .*\"4\".*, here .*\"2\""):
        build.cross({"w": a.a_wrapped(block=4)}, {"w": a.a_wrapped(block=2)})


def test_a_plain_tensor_does_not_go_into_a_wrapped_one() -> None:
    with pytest.raises(SchemaDiffers, match=r"w: container is a tensor, here a builders_classes\.Wrapped"):
        build.cross({"w": torch.ones(4, 4)}, {"w": a.a_wrapped()})


class Odd(a.Wrapped):
    """Its context is an object that nobody can take apart, or a tensor."""

    odd: Any = object()

    def __tensor_flatten__(self) -> tuple[list[str], Any]:
        return ["values_"], {"odd": self.odd}


@pytest.mark.parametrize(
    ("odd", "sentence"),
    [
        (object(), r"w \(its context\)\.odd is a object"),
        (torch.ones(1), r"w \(its context\)\.odd is a tensor among the"),
    ],
    ids=["an object", "a tensor"],
)
def test_a_context_that_cannot_cross_is_named_on_both_sides(odd: Any, sentence: str) -> None:
    Odd.odd = odd
    giving, taking = builders_ends.gloo_groups()
    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], {"w": Odd(torch.ones(2), torch.ones(1), 1)}),
        lambda: build.a_transport(taking).recv_checkpoint(0),
    )
    with pytest.raises(UnsupportedLeaf, match=sentence):
        raise gave
    assert isinstance(took, PeerRefused)


class Broken(a.Wrapped):
    """It cannot tell what it is made of."""

    def __tensor_flatten__(self) -> Any:
        raise RuntimeError("freed already")


def test_a_wrapped_tensor_that_cannot_be_taken_apart_is_named() -> None:
    with pytest.raises(UnsupportedLeaf, match=r"w is a Broken \(freed already\), which cannot cross"):
        describe({"w": Broken(torch.ones(2), torch.ones(1), 1)})


OPAQUE = torch.arange(4.0).as_subclass(a.Opaque)


def test_a_tensor_class_that_does_not_say_is_refused_by_name_and_crosses_by_a_codec() -> None:
    with pytest.raises(
        UnsupportedLeaf, match=r"w is a Opaque of torch\.strided torch\.float32 on cpu, which cannot cross"
    ):
        describe({"w": OPAQUE})
    codec: Any = {
        "take_apart": lambda each: each.as_subclass(torch.Tensor),
        "put_together": lambda plain: plain.as_subclass(a.Opaque),
    }
    with a.registered(a.Opaque, **codec):
        received = build.cross({"w": OPAQUE})["w"]
    assert type(received) is a.Opaque
    assert received.tolist() == OPAQUE.tolist()


def test_parts_that_do_not_make_the_class_are_refused() -> None:
    described = describe({"w": a.a_wrapped()})
    tree = described.schema.tree["d"][0][1]["x"]
    schema = described.schema.model_copy(update={"tree": {"d": [["w", {"x": [tree[0], {"d": []}, *tree[2:]]}]]}})
    data = bytearray(schema.data_bytes)
    with (
        a.registered(a.Wrapped),
        pytest.raises(BadFrame, match="w cannot be made of its tensors, as builders_classes"),
    ):
        rebuild(schema, described.values, data)
    object_schema = described.schema.model_copy(
        update={"tree": {"c": [tree[0], {"d": [["w", {"l": [{"T": 0}, {"T": 1}]}]]}]}}
    )
    with (
        a.registered(a.Wrapped),
        pytest.raises(BadFrame, match=r"is written as an object, but .*Wrapped is a tensor class"),
    ):
        rebuild(object_schema, described.values, data)


def test_wrapped_tensors_and_objects_pack_likewise() -> None:
    state = {"w": a.a_wrapped(3.0), "pair": a.Pair(a.Colour.RED, torch.ones(2))}
    blob = pack(state)
    with pytest.raises(UnknownClass):
        unpack_apart(blob, "parts")
    back, _ = unpack_apart(blob, "parts", describe(state).leaves)
    assert parts(back["w"]) == parts(state["w"])
    assert (back["pair"].left, back["pair"].right.tolist()) == (a.Colour.RED, [1.0, 1.0])


@pytest.fixture
def mesh() -> Iterator[Any]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1, 1))
    dist.destroy_process_group()


def distributed(local: torch.Tensor, mesh: Any) -> DTensor:
    return DTensor.from_local(local, mesh, (Shard(0), Shard(0)), run_check=False, shape=local.shape, stride=(4, 1))


def test_a_dtensor_of_wrapped_tensors_is_filled_in_place_and_laid_out_on_a_mesh(mesh: Any) -> None:
    live = distributed(a.a_wrapped(0.0), mesh)
    assert build.cross({"w": distributed(a.a_wrapped(3.0), mesh)}, {"w": live})["w"] is live
    assert parts(live.to_local()) == parts(a.a_wrapped(3.0))
    giving, taking = builders_ends.gloo_groups()
    receiver = build.PGTransport(taking, build.timedelta(seconds=20), build.CPU, mesh=mesh)
    with a.registered(a.Wrapped, a.Colour):
        _, received = builders_ends.side_by_side(
            lambda: build.a_transport(giving).send_checkpoint([1], {"w": live}), lambda: receiver.recv_checkpoint(0)
        )
        bare = build.cross({"w": live})["w"]
    assert isinstance(received["w"], DTensor)
    assert (received["w"].placements, parts(received["w"].to_local())) == (live.placements, parts(a.a_wrapped(3.0)))
    assert type(bare) is a.Wrapped
