"""Whoever names a rank or a step that cannot be is told so, before anything is said over the group."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed import ProcessGroup

import builders_ends
import builders_pg as build
from checkpointheal.errors import Misuse, PeerRefused

STATE = {"n": 1}


class Configured(ProcessGroup):
    """Made before its ranks are, as torchft's groups: torch's own `rank` and `size` of it tell nothing."""

    def __init__(self, group: Any) -> None:
        super().__init__(0, 1)
        self._group = group
        self.send, self.recv = group.send, group.recv

    def size(self) -> int:
        return self._group.size()


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        (7, "rank 7 is none of this process group's, which are 0 to 3, of 4"),
        (-1, "rank -1 is none"),
        (3, "rank 3 of 4 is this process itself"),
        ("1", "rank '1' is none"),
        (1.0, r"rank 1\.0 is none"),
        (None, "rank None is none"),
        ([0, 9], "rank 9 is none"),
    ],
)
def test_what_is_no_other_rank_of_the_group_is_refused_by_name(named: Any, sentence: str) -> None:
    transport = build.a_transport(ProcessGroup(3, 4), seconds=1)
    acts = (
        lambda: transport.recv_checkpoint(named),
        lambda: transport.recv_checkpoint(1, relay_to=named),
        lambda: transport.send_checkpoint(named, STATE),
    )
    for act in acts:
        with pytest.raises(Misuse, match=sentence):
            act()


@pytest.mark.parametrize("kind", [np.int64, torch.tensor, lambda rank: range(rank, rank + 1)])
def test_whole_numbers_of_every_kind_name_a_rank(kind: Any) -> None:
    giving, taking = builders_ends.gloo_groups()
    _, received = builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint(kind(1), STATE),
        lambda: build.a_transport(taking).recv_checkpoint(kind(0)),
    )
    assert received == STATE


def test_a_group_that_was_made_before_its_ranks_is_believed_its_size_and_not_its_rank() -> None:
    giving, taking = map(Configured, builders_ends.gloo_groups())
    assert (taking.rank(), taking.size()) == (0, 2)
    _, received = builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], STATE),
        lambda: build.a_transport(taking).recv_checkpoint(0),
    )
    assert received == STATE
    with pytest.raises(Misuse, match="rank 2 is none"):
        build.a_transport(taking).recv_checkpoint(2)


@pytest.mark.parametrize("step", [-1, 1.5, "3", 1 << 60])
def test_what_is_no_step_is_refused_by_name_and_frees_who_waits(step: Any) -> None:
    giving, taking = builders_ends.gloo_groups(seconds=60)
    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], STATE, step=step),
        lambda: build.a_transport(taking, seconds=60).recv_checkpoint(0),
    )
    assert type(gave) is Misuse
    assert f"step {step!r} is none" in str(gave)
    assert isinstance(took, PeerRefused)
    assert f"step {step!r} is none" in str(took)
    with pytest.raises(Misuse, match="is none"):
        build.a_transport(taking).recv_checkpoint(0, step=step)
