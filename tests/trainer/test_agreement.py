"""Either all ranks begin with the same thing, or every one of them hears who did not."""

import itertools
import os
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch import nn

from checkpointheal import digest
from checkpointheal.errors import RestoreDisagrees
from checkpointheal.manifest import describe
from checkpointheal.trainer import agreement
from checkpointheal.trainer.agreement import Standing, agree, schema_digest
from children import fork, wait

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

AGREED, DISAGREED = 10, 11
USUAL = Standing(protected=True, epoch=4, step=12, schema_digest="a" * 32)
DIFFERENT = {
    "nothing": ({}, AGREED, ""),
    "no agent": ({"protected": False}, DISAGREED, "rank 1 has epoch 4, step 12, schema aaaaaaaa, no agent"),
    "an older epoch": ({"epoch": 3}, DISAGREED, "rank 1 has epoch 3, step 12, schema aaaaaaaa"),
    "another step": ({"step": 11}, DISAGREED, "rank 1 has epoch 4, step 11, schema aaaaaaaa"),
    "nothing restored": ({"step": None}, DISAGREED, "rank 1 has epoch 4, step none, schema aaaaaaaa"),
    "another schema": ({"schema_digest": "f" * 32}, DISAGREED, "rank 1 has epoch 4, step 12, schema ffffffff"),
    "a schema that ends otherwise": ({"schema_digest": "a" * 31 + "b"}, DISAGREED, "rank 1 has epoch 4, step 12"),
}


def begin(rendezvous, rank, standing, said):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    try:
        agree(standing, None)
    except RestoreDisagrees as error:
        said.write_text(str(error))
        os._exit(DISAGREED)
    os._exit(AGREED)


@pytest.mark.parametrize(("changes", "outcome", "sentence"), DIFFERENT.values(), ids=DIFFERENT)
def test_every_rank_hears_the_same(tmp_path, changes, outcome, sentence):
    standings = [USUAL, USUAL._replace(**changes)]
    said = [tmp_path / f"said-{rank}" for rank in range(2)]
    children = [
        fork(lambda rank=rank: begin(f"file://{tmp_path}/store", rank, standings[rank], said[rank]))
        for rank in range(2)
    ]
    assert [wait(child) for child in children] == [outcome, outcome]
    for file in said if sentence else ():
        assert "rank 0 has epoch 4, step 12, schema aaaaaaaa;" in file.read_text()
        assert sentence in file.read_text()


def digest_of(**tensors):
    return schema_digest(describe(tensors).schema)


def test_whether_a_tensor_trains_and_is_a_parameter_is_no_other_schema():
    """Each script sets it, behind its restore: no state dict of a module tells it."""
    plain, frozen, trained = torch.zeros(3), nn.Parameter(torch.zeros(3), requires_grad=False), torch.zeros(3)
    trained.requires_grad_(True)
    expected = digest.schema_digest(describe({"a": plain, "b": torch.zeros(2), "c": torch.zeros(3)}).schema)
    for first, last in itertools.product((plain, frozen, trained, nn.Parameter(torch.zeros(3))), repeat=2):
        assert (
            digest_of(a=first, b=torch.zeros(2), c=last.clone().detach().requires_grad_(last.requires_grad)) == expected
        )


def test_another_shape_of_what_trains_is_another_schema():
    first, other = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(4))
    assert digest_of(a=first, b=torch.zeros(3)) != digest_of(a=other, b=torch.zeros(3))
    assert digest_of(a=first, b=torch.zeros(4)) != digest_of(a=other, b=torch.zeros(3))


def test_without_a_process_group_there_is_nobody_to_disagree_with():
    agree(USUAL, None)


def test_each_coordinate_has_a_schema_of_its_own_and_all_have_one_epoch_and_step(monkeypatch):
    standing = Standing(True, 3, 40, "ab" * 16)
    mine, shard = standing.numbers().tolist(), standing._replace(schema_digest="cd" * 16).numbers().tolist()

    def rows(*said):
        monkeypatch.setattr(agreement, "_gathered", lambda *_: [tuple(row) for row in said])
        return agreement.agree_by_coordinate(standing, 0)

    assert rows([*mine, 0], [*shard, 1], [*mine, 0], [*shard, 1]) == [0, 1, 0, 1]
    with pytest.raises(RestoreDisagrees, match=r"schema abababab.*schema cdcdcdcd"):
        rows([*mine, 0], [*shard, 0])
    behind = standing._replace(step=39).numbers().tolist()
    with pytest.raises(RestoreDisagrees, match=r"step 40.*step 39"):
        rows([*mine, 0], [*behind, 1])


FIRST, SECOND, THIRD = (torch.device("cuda", index) for index in range(3))


def bound(device):
    return SimpleNamespace(bound_device_id=device)


@pytest.mark.parametrize(
    ("world", "group", "expected"),
    [
        (bound(None), None, FIRST),
        (bound(None), bound(None), FIRST),
        (bound(SECOND), None, SECOND),
        (bound(SECOND), bound(None), SECOND),
        (bound(SECOND), bound(THIRD), THIRD),
    ],
)
def test_over_nccl_each_rank_asks_on_its_own_gpu_which_need_not_be_the_current_one(monkeypatch, world, group, expected):
    asked = []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_backend", lambda _: "nccl")
    monkeypatch.setattr(dist, "get_world_size", lambda _: 2)
    monkeypatch.setattr(dist.distributed_c10d, "_get_default_group", lambda: world)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: FIRST.index)
    monkeypatch.setattr(torch, "empty_like", lambda _, device: asked.append(device) or torch.zeros(5))
    monkeypatch.setattr(torch.Tensor, "to", lambda mine, device: asked.append(device) or mine)
    monkeypatch.setattr(dist, "all_gather", lambda gathered, mine, group: [each.copy_(mine) for each in gathered])
    agree(USUAL, group)
    assert asked == [expected] * 3
