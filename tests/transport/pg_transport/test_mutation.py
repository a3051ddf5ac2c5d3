"""Whenever somebody writes to the donor's tensors, no recipient ends up with two steps in one state.

The writes go past autograd's eyes, between the digests and the first chunk and between every two chunks.
"""

from typing import Any

import pytest
import torch

import builders_ends
import builders_pg as build
from checkpointheal import PGTransport, digest
from checkpointheal.errors import BytesDiffer, PeerRefused

CHUNK = digest.CHUNK_BYTES
FLOATS = 4 * CHUNK // 4
OLD, NEW, WRITTEN = 97.0, 103.0, 1.0
WHEN = range(2 + 4)
"""Before each message: prefix and header of the offer, whose digests are made by then, and four chunks."""
WHERE = {"first": 0, "second": FLOATS // 4, "last": FLOATS - 1}


def crossed_while_written(when: int, where: int, *, snapshot: bool = False, staged: bool = False) -> tuple[Any, ...]:
    """What became of the sender, of the receiver, and of its target."""
    state, target = {"w": torch.full((FLOATS,), NEW)}, {"w": torch.full((FLOATS,), OLD)}
    giving, taking = builders_ends.gloo_groups()

    def write(number: int) -> None:
        if number == when:
            state["w"].data[where] = WRITTEN

    sender = build.a_transport(build.Recording(giving, write))
    receiver = PGTransport(taking, build.timedelta(seconds=20), build.CPU, lambda: target, staged=staged)
    gave, took = builders_ends.side_by_side(
        lambda: sender.send_checkpoint([1], state, snapshot=snapshot), lambda: receiver.recv_checkpoint(0)
    )
    assert state["w"][where] == WRITTEN
    return gave, took, target["w"].view(4, -1)


@pytest.mark.parametrize("where", WHERE.values(), ids=WHERE)
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("staged", [True, False], ids=["staged", "in place"])
def test_a_write_is_found_out_or_came_too_late_to_matter(when: int, where: int, staged: bool) -> None:
    gave, took, chunks = crossed_while_written(when, where, staged=staged)
    written = where * 4 // FLOATS
    if isinstance(took, dict):
        assert (chunks == NEW).all()
        assert when > 2 + written, "its chunk had been handed over"
        return
    assert isinstance(took, BytesDiffer)
    assert f": {written}" in str(took), "it names the chunk"
    assert isinstance(gave, PeerRefused)
    for number, chunk in enumerate(chunks):
        expected = OLD if staged else float("nan") if number == written else NEW
        torch.testing.assert_close(chunk, torch.full_like(chunk, expected), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("where", WHERE.values(), ids=WHERE)
@pytest.mark.parametrize("when", WHEN)
def test_of_a_snapshot_no_write_is_seen(when: int, where: int) -> None:
    gave, _, chunks = crossed_while_written(when, where, snapshot=True)
    assert gave is None
    assert (chunks == NEW).all()


def test_a_group_over_which_a_mutation_was_found_out_is_as_good_as_before() -> None:
    state = {"w": torch.full((FLOATS,), NEW)}
    target = {"w": torch.full((FLOATS,), OLD)}
    giving, taking = builders_ends.gloo_groups()

    def write(number: int) -> None:
        if number == 1:
            state["w"].data[-1] = WRITTEN

    sender, receiver = build.a_transport(build.Recording(giving, write)), build.a_transport(taking, target)
    for _ in range(2):
        _, took = builders_ends.side_by_side(
            lambda: sender.send_checkpoint([1], state), lambda: receiver.recv_checkpoint(0)
        )
    assert build.same(took, state)
    assert build.same(target, state)


def test_a_snapshot_is_of_every_layout() -> None:
    base = torch.randn(100)
    state = {"v": base[5:9], "t": torch.randn(3, 4).T, "e": torch.empty(0, 2), "n": [1, base[6:8]]}
    giving, taking = builders_ends.gloo_groups()
    _, took = builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], state, snapshot=True),
        lambda: build.a_transport(taking).recv_checkpoint(0),
    )
    assert build.same(took, state)


@pytest.mark.parametrize("when", range(3))
def test_what_was_packed_goes_as_it_was_offered_whoever_writes_to_it_later(when: int) -> None:
    """Small tensors are read once, for the digests: nobody refuses a change that is never sent."""
    state = {f"w{number}": torch.full((100,), NEW) for number in range(50)}
    offered = {name: each.clone() for name, each in state.items()}
    giving, taking = builders_ends.gloo_groups()

    def write(number: int) -> None:
        if number == when:
            for each in state.values():
                each.data.fill_(WRITTEN)

    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(build.Recording(giving, write)).send_checkpoint([1], state),
        lambda: build.a_transport(taking).recv_checkpoint(0),
    )
    assert gave is None
    assert build.same(took, offered)
    assert not build.same(state, offered)


@pytest.mark.parametrize("recipients", [1, 2])
def test_a_snapshot_of_many_small_tensors_is_what_they_were_whoever_takes_it(recipients: int) -> None:
    state = {f"w{number}": torch.full((number % 7 + 1,), float(number)) for number in range(300)}
    offered = {name: each.clone() for name, each in state.items()}
    giving, *taking = builders_ends.gloo_groups(recipients + 1)

    def write(number: int) -> None:
        if number == 0:
            for each in state.values():
                each.data.fill_(-1)

    gave, *took = builders_ends.side_by_side(
        lambda: build.a_transport(build.Recording(giving, write)).send_checkpoint(
            range(1, recipients + 1), state, snapshot=True
        ),
        *[lambda group=group: build.a_transport(group).recv_checkpoint(0) for group in taking],
    )
    assert gave is None
    assert all(build.same(each, offered) for each in took)
