"""Thousands of small tensors cross in a few messages, and each arrives as a tensor of its own."""

import pytest
import torch

import builders_pg as build
from checkpointheal.ends.live import LiveSource
from checkpointheal.manifest import describe


def a_state(first: int = 0) -> dict[str, torch.Tensor]:
    return {f"layers.{i}.weight": torch.full((16, 2), float(first + i)) for i in range(2000)}


@pytest.mark.parametrize("in_place", [False, True], ids=["out of place", "in place"])
def test_thousands_of_small_tensors_cross_as_they_were(in_place: bool) -> None:
    target = a_state(7) if in_place else None
    places = {name: each.data_ptr() for name, each in (target or {}).items()}
    received = build.cross(a_state(), target)
    assert build.same(received, a_state())
    assert all(received[name].data_ptr() == place for name, place in places.items())


def test_each_that_arrives_in_new_memory_has_a_storage_of_its_own_and_no_more() -> None:
    state = {
        **a_state(),
        "turned": torch.arange(6.0).reshape(2, 3).t(),
        "one element": torch.ones(1, 1, 1),
        "wide": torch.empty_strided((3, 2), (4, 1)).fill_(3),
        "half": torch.ones(5).bfloat16(),
        "parameter": torch.nn.Parameter(torch.ones(3)),
    }
    received = build.cross(state)
    assert build.same(received, state)
    storages = [each.untyped_storage() for each in received.values()]
    assert len({storage.data_ptr() for storage in storages}) == len(state)
    assert [storage.nbytes() for storage in storages[:2000]] == [128] * 2000
    assert [each.stride() for each in received.values()] == [each.stride() for each in state.values()]
    assert [storage.nbytes() for storage in storages[2000:]] == [24, 4, 40, 10, 12]


def test_a_pack_goes_as_it_was_digested() -> None:
    state = a_state()
    source = LiveSource(describe(state), chunk_bytes=1 << 16)
    digested = source.digests()
    for each in state.values():
        each.fill_(-1)
    again = LiveSource(describe(a_state()), chunk_bytes=1 << 16)
    assert digested == again.digests()
    for index in range(2):
        assert all(map(torch.equal, source.parts(index), again.parts(index)))
