"""What an older build wrote is read by this one, and what an older build could write is written as it wrote it."""

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

import builders_classes as a
from checkpointheal import digest
from checkpointheal.contract.layout import Manifest, Schema
from checkpointheal.ends.target import Target
from checkpointheal.errors import SchemaDiffers
from checkpointheal.manifest import describe, rebuild, write_out

OLDER = json.loads((Path(__file__).parent / "version_1.json").read_text())
WEIGHT = torch.arange(6.0).reshape(2, 3)
STATE = {
    "model": {
        "w": WEIGHT,
        "tied": WEIGHT,
        "row": WEIGHT[1],
        "p": torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
    },
    "od": OrderedDict(a=1),
    "list": [1.5, (None, "x")],
    3: b"k",
}


def test_a_manifest_of_an_older_build_is_read():
    data = bytearray(describe(STATE).schema.data_bytes)
    write_out(describe(STATE), data)
    back = rebuild(Schema.model_validate(OLDER["schema"]), OLDER["values"], data)
    assert torch.equal(back["model"]["row"], WEIGHT[1])
    assert back["model"]["w"].data_ptr() == back["model"]["tied"].data_ptr()
    assert (back["od"], back["list"], back[3]) == (STATE["od"], STATE["list"], STATE[3])


def test_its_schema_has_the_digest_that_it_had_and_so_has_the_same_state_today():
    assert digest.schema_digest(Schema.model_validate(OLDER["schema"])) == OLDER["schema_digest"]
    described = describe(STATE)
    assert described.schema.model_dump(mode="json") == OLDER["schema"]
    assert list(described.values) == OLDER["values"]


def test_a_dataclass_of_an_older_build_lacks_the_fields_that_its_constructor_does_not_take():
    plan = a.Plan(0.1, WEIGHT)
    plan.seen = 7
    as_it_wrote = {"take_apart": lambda plan: {"rate": plan.rate, "weight": plan.weight}, "put_together": a.Plan}
    with a.registered(a.Plan, **as_it_wrote):
        older = describe({"it": plan})
    data = bytearray(older.schema.data_bytes)
    write_out(older, data)
    with a.registered(a.Plan):
        back = rebuild(older.schema, older.values, data)["it"]
        assert (back.rate, back.weight.tolist(), back.seen) == (0.1, WEIGHT.tolist(), 0)
        with pytest.raises(SchemaDiffers, match=r"it\.seen is not in the offered state"):
            Target({"it": plan}).require_fit(Manifest(schema=older.schema, values=older.values))


@pytest.mark.parametrize("count", [7, 8, 9])
def test_eight_tensors_in_a_row_are_written_as_a_run_and_fewer_one_by_one(count):
    """Where another build drew the line elsewhere, one state would have two digests."""
    row = [torch.ones(1) for _ in range(count)]
    named = {str(at): each for at, each in enumerate(row)}
    alone = [{"T": at} for at in range(count)]
    trees = {"l": [{"R": [0, count]}], "d": [[list(named), {"R": 0}]]}
    if count < 8:
        trees = {"l": alone, "d": [list(pair) for pair in zip(named, alone, strict=True)]}
    assert describe(row).schema.tree == {"l": trees["l"]}
    assert describe(named).schema.tree == {"d": trees["d"]}
