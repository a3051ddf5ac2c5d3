"""What lies beside a tensor in its storage and is in no tensor of the state is nobody's business: it stays as it is."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import builders_ends
import builders_pg as build
from checkpointheal import PGTransport, digest
from checkpointheal.contract.cut import Cut
from checkpointheal.ends.live import LiveSource
from checkpointheal.ends.owned import Owned, mask
from checkpointheal.ends.section import CopiedSource
from checkpointheal.ends.spoil import spoil
from checkpointheal.manifest import describe

MINE, THEIRS = 42.0, 7.0
WAYS: dict[str, dict[str, Any]] = {"in place": {}, "staged": {"staged": True}, "lenient": {"strict": False}}
ROWS = 1 << 18
"""Of four floats: half of each row is over a megabyte."""

VIEWS: dict[str, tuple[tuple[int, ...], Callable[[torch.Tensor], torch.Tensor]]] = {
    "numbers before a view": ((9,), lambda base: base[1:]),
    "columns between rows": ((3, 4), lambda base: base[:, :2]),
    "columns of a large one": ((ROWS, 4), lambda base: base[:, 1:3]),
    "every other number": ((12,), lambda base: base[1::2]),
    "one number for all": ((4, 3), lambda base: base[1:2, ::2].expand(5, 2)),
    "windows that overlap": ((12,), lambda base: base.as_strided((2, 2, 2), (6, 2, 1), 1)),
}
DTYPES = [torch.uint8, torch.float16, torch.float32, torch.int64, torch.complex128]


def crossed(state: Any, target: Any, **options: Any) -> PGTransport:
    """The receiver, once all is there."""
    giving, taking = builders_ends.gloo_groups()
    receiver = build.a_receiver(taking, target, 20, **options)
    outcomes = builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], state), lambda: receiver.recv_checkpoint(0)
    )
    assert not any(isinstance(each, Exception) for each in outcomes), outcomes
    return receiver


def expected(base: torch.Tensor, view: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    found, inside = torch.full_like(base, MINE), torch.zeros_like(base, dtype=torch.bool)
    places = view(torch.arange(base.numel()).view(base.shape)).reshape(-1)
    inside.view(-1)[places] = True
    return torch.where(inside, torch.full_like(base, THEIRS), found)


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize(("shape", "view"), VIEWS.values(), ids=VIEWS.keys())
def test_only_the_elements_are_written(shape: Any, view: Any, options: dict[str, Any]) -> None:
    theirs, mine = torch.full(shape, THEIRS), torch.full(shape, MINE)
    crossed({"w": view(theirs), "v": torch.ones(3)}, {"w": view(mine), "v": torch.zeros(3)}, **options)
    assert torch.equal(mine, expected(mine, view))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_of_every_width(dtype: torch.dtype) -> None:
    theirs, mine = (torch.full((3, 4), value).to(dtype) for value in (THEIRS, MINE))
    crossed({"w": theirs[:, 1:3]}, {"w": mine[:, 1:3]})
    assert torch.equal(mine, torch.tensor([[MINE, THEIRS, THEIRS, MINE]] * 3).to(dtype))


def test_a_tensor_that_only_the_target_has_keeps_its_value_between_the_rows_of_another() -> None:
    mine = torch.arange(16.0).reshape(4, 4)
    crossed({"w": torch.full((4, 4), THEIRS)[:, :2]}, {"w": mine[:, :2], "v": mine[:, 2:]}, strict=False)
    assert torch.equal(mine[:, 2:], torch.arange(16.0).reshape(4, 4)[:, 2:])
    assert (mine[:, :2] == THEIRS).all()


@pytest.mark.parametrize("make", [LiveSource, CopiedSource])
@pytest.mark.parametrize(("shape", "view"), VIEWS.values(), ids=VIEWS.keys())
def test_what_is_in_no_tensor_counts_for_no_digest(shape: Any, view: Any, make: Any) -> None:
    one = expected(torch.empty(shape), view)
    other = torch.where(one == MINE, torch.zeros(()), one)
    assert make(describe({"w": view(one)})).digests() == make(describe({"w": view(other)})).digests()


def test_it_is_passed_on_by_a_rank_whose_own_memory_lies_between() -> None:
    groups = builders_ends.gloo_groups(3)
    mine = torch.full((3, 4), MINE)
    middle = build.a_receiver(groups[1], {"w": mine[:, :2]}, 20)
    *_, last = builders_ends.side_by_side(
        lambda: build.a_transport(groups[0]).send_checkpoint([1], {"w": torch.full((3, 4), THEIRS)[:, :2]}),
        lambda: middle.recv_checkpoint(0, relay_to=[2]),
        lambda: build.a_transport(groups[2]).recv_checkpoint(1),
    )
    assert not middle.unreached
    assert (last["w"] == THEIRS).all()
    assert torch.equal(mine[0], torch.tensor([THEIRS, THEIRS, MINE, MINE]))


def test_what_was_in_no_tensor_is_not_spoiled() -> None:
    mine = torch.full((3, 4), MINE)
    described = describe({"w": mine[:, :2]})
    spoil(described, Cut(described.schema, digest.CHUNK_BYTES).pieces(0))
    assert mine[:, :2].isnan().all()
    assert (mine[:, 2:] == MINE).all()


def test_only_regions_with_gaps_are_looked_at_byte_by_byte() -> None:
    base = torch.zeros(64)
    state = {
        "whole": torch.zeros(3), "turned": torch.zeros(3, 4).T, "none": torch.zeros(0), "ties": base[:8],
        "tied": base[4:16], "after": base[16:20], "lone": base[33:35], "first": base[40:45], "behind": base[46:50],
    }  # fmt: skip
    schema = describe(state).schema
    names = {entry.region: entry.path for entry in schema.each_tensor}
    assert {names[region] for region in Owned(schema).gapped} == {"lone", "behind"}
    assert Owned(describe({"n": 1}).schema).gapped == frozenset()
    entries = [each for each in schema.each_tensor if names[each.region] == "behind"]
    assert mask(entries, 40).tolist() == [True] * 20 + [False] * 4 + [True] * 16


def test_a_delta_finds_the_elements_alike_whatever_lies_between() -> None:
    theirs, mine = (torch.full((ROWS, 4), value) for value in (THEIRS, MINE))
    mine[:, 1:3] = THEIRS
    giving, taking = builders_ends.gloo_groups()
    recording = build.Recording(giving)
    builders_ends.side_by_side(
        lambda: build.a_transport(recording).send_checkpoint([1], {"w": theirs[:, 1:3]}),
        lambda: build.a_receiver(taking, {"w": mine[:, 1:3]}, 20).recv_checkpoint(0, delta=True),
    )
    assert max(recording.sent) < digest.CHUNK_BYTES // 8, "the offer, and no chunk"
