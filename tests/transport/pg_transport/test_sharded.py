"""A ShardedTensor is one again where there is a default process group that it fits, else the list of its shards."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed._shard.sharded_tensor import Shard, ShardedTensor, ShardMetadata, init_from_local_shards

import builders_ends
import builders_pg as build
from checkpointheal.contract.layout import Schema
from checkpointheal.ends.shards import shard_again
from checkpointheal.errors import PeerRefused, SchemaDiffers
from checkpointheal.manifest import compare, describe, rebuild, write_out

pytestmark = pytest.mark.filterwarnings("ignore:Please use DTensor instead")


@pytest.fixture
def default_group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def a_sharded(fill: float, **properties: Any) -> Any:
    """Two shards of one whole, both here."""
    places = [ShardMetadata(shard_offsets=[row, 0], shard_sizes=[2, 3], placement="rank:0/cpu") for row in (0, 2)]
    shards = [Shard(tensor=torch.full((2, 3), fill + i, **properties), metadata=each) for i, each in enumerate(places)]
    return init_from_local_shards(shards, 4, 3)


def told(sharded: Any) -> Any:
    return [
        (shard.tensor.tolist(), shard.tensor.requires_grad, shard.metadata.shard_offsets)
        for shard in sharded.local_shards()
    ]


@pytest.mark.parametrize("properties", [{}, {"requires_grad": True}, {"dtype": torch.bfloat16}], ids=str)
def test_several_local_shards_make_a_sharded_tensor_again(default_group: None, properties: Any) -> None:
    sent = a_sharded(3.0, **properties)
    received = build.cross({"w": sent})["w"]
    assert isinstance(received, ShardedTensor)
    assert told(received) == told(sent)
    assert received.metadata() == sent.metadata()


def test_without_a_default_group_it_is_the_list_of_its_shards(default_group: None) -> None:
    sent = a_sharded(3.0)
    dist.destroy_process_group()
    received = build.cross({"w": sent})["w"]
    assert [each.tolist() for each in received] == [[[3.0] * 3] * 2, [[4.0] * 3] * 2]
    described = describe({"w": sent})
    data = bytearray(described.schema.data_bytes)
    write_out(described, data)
    assert [each.tolist() for each in rebuild(described.schema, described.values, data)["w"]] == [
        each.tolist() for each in received
    ]


def changed(schema: Schema, **changes: Any) -> Schema:
    sharding, nodes = schema.tree["d"][0][1]["sh"]
    return schema.model_copy(update={"tree": {"d": [["w", {"sh": [{**sharding, **changes}, nodes]}]]}})


def test_who_holds_a_shard_is_for_information_and_where_it_lies_is_not(default_group: None) -> None:
    schema = describe({"w": a_sharded(3.0)}).schema
    sharding = schema.tree["d"][0][1]["sh"][0]
    elsewhere = [{**place, "holder": "rank:7/cuda:1"} for place in sharding["shards"]]
    moved = [{**place, "offsets": [9, 0]} for place in sharding["shards"]]
    assert compare(changed(schema, shards=elsewhere, local=elsewhere), schema) == ()
    (difference,) = compare(changed(schema, shards=moved), schema)
    assert (difference.path, difference.what) == ("w", "placement")


def test_a_whole_that_does_not_fit_this_processs_group_is_refused_by_name_before_a_byte_crosses(
    default_group: None,
) -> None:
    state = {"w": a_sharded(3.0)}
    for shard in state["w"].metadata().shards_metadata:
        shard.placement = torch.distributed._remote_device("rank:5/cpu")
    giving, taking = builders_ends.gloo_groups()
    recording = build.Recording(giving)
    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(recording).send_checkpoint([1], state),
        lambda: build.a_transport(taking).recv_checkpoint(0),
    )
    assert isinstance(took, SchemaDiffers)
    assert "w: placement is 2 of 2 shards (" in str(took)
    assert "), here rank 0 of 1" in str(took)
    assert isinstance(gave, PeerRefused)
    assert len(recording.sent) == 2, "the offer, and nothing else"


def test_a_dtype_that_is_none_is_refused(default_group: None) -> None:
    sent = a_sharded(3.0)
    from checkpointheal.manifest.wholes import sharding_of

    sharding = sharding_of(sent).model_copy(update={"dtype": "float33"})
    with pytest.raises(SchemaDiffers, match="w: placement"):
        shard_again([shard.tensor for shard in sent.local_shards()], sharding, "w")
