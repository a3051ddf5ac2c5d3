"""Whoever names a rank or a step that cannot be is told so, and nothing is said over the group."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed import ProcessGroup

import builders_ends
import builders_pg as build
from checkpointheal import PGTransport, Progress
from checkpointheal.errors import Misuse, PeerRefused, SchemaDiffers

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


@pytest.mark.parametrize("kind", [Configured, lambda group: build.Recording(Configured(group), lambda _count: None)])
def test_a_group_that_was_made_before_its_ranks_is_believed_its_size_and_not_its_rank(kind: Any) -> None:
    giving, taking = map(kind, builders_ends.gloo_groups())
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


def test_a_rank_is_in_one_transfer_at_a_time_and_free_again_once_that_has_ended_however() -> None:
    giving, taking = builders_ends.gloo_groups()
    refused: list[str] = []

    def again(_: Progress) -> None:
        for act in (lambda: sender.send_checkpoint([1], STATE), lambda: sender.recv_checkpoint(1)):
            with pytest.raises(Misuse, match="rank 1 is in a transfer over this transport already") as raised:
                act()
            refused.append(str(raised.value))

    sender = PGTransport(giving, build.timedelta(seconds=20), build.CPU, progress=again)
    receiver = build.a_transport(taking, {"n": torch.zeros(1)})
    gave, took = builders_ends.side_by_side(
        lambda: sender.send_checkpoint([1], {"n": torch.ones(2)}), lambda: receiver.recv_checkpoint(0)
    )
    assert isinstance(gave, PeerRefused)
    assert isinstance(took, SchemaDiffers)
    assert not refused, "nothing crossed"
    for _ in range(2):
        gave, took = builders_ends.side_by_side(
            lambda: sender.send_checkpoint([1], {"n": torch.ones(1)}), lambda: receiver.recv_checkpoint(0)
        )
        assert gave is None
        assert took["n"] == 1
    assert len(refused) == 8


def test_a_call_with_another_rank_goes_on_meanwhile() -> None:
    groups = builders_ends.gloo_groups(3)

    def pass_on(progress: Progress) -> None:
        if progress.peer == 0 and not progress.done:
            middle.send_checkpoint([2], STATE)

    middle = PGTransport(groups[1], build.timedelta(seconds=20), build.CPU, progress=pass_on)
    _, received, sent = builders_ends.side_by_side(
        lambda: build.a_transport(groups[0]).send_checkpoint([1], {"w": torch.ones(1)}),
        lambda: middle.recv_checkpoint(0),
        lambda: build.a_transport(groups[2]).recv_checkpoint(1),
    )
    assert received["w"] == 1
    assert sent == STATE
