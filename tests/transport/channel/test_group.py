"""What a process group says of its end is told in a sentence of ours: what happened, not where in whose source."""

from collections.abc import Callable

import pytest
import torch
from torch.distributed.distributed_c10d import Work

from checkpointheal.channel.group import GroupChannel, GroupPending
from checkpointheal.errors import PeerLost

GLOO = (
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:544] Connection closed by peer [127.0.0.1]:4711. "
    "This is typically a symptom of a remote process that exited.\nException raised from wait at pair.cc:544"
)
TOLD = "the connection to rank 1 is gone: Connection closed by peer [127.0.0.1]:4711"


class Broken(Work):
    """A message that does not arrive."""

    def wait(self, *_: object) -> bool:
        raise RuntimeError(GLOO)


class Going:
    """A group that loses its peer: as something begins, or later."""

    def __init__(self, at_once: bool) -> None:
        self._at_once = at_once

    def send(self, _tensors: list[torch.Tensor], _peer: int, _tag: int, /) -> Work:
        if self._at_once:
            raise RuntimeError(GLOO)
        return Broken()

    recv = send


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("begin", [GroupChannel.send, GroupChannel.receive])
def test_a_lost_peer_is_told_in_one_short_sentence(
    begin: Callable[[GroupChannel, torch.Tensor], GroupPending], at_once: bool
) -> None:
    channel = GroupChannel(Going(at_once), 1)
    with pytest.raises(PeerLost) as lost:
        begin(channel, torch.empty(8, dtype=torch.uint8)).wait(20)
    assert str(lost.value) == TOLD
