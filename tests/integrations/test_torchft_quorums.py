"""Managers of two replicas, in threads of one process, heal by HealTransport when a quorum forms."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("torchft", reason="torchft is not installed here: make integrations")

from torch.distributed import TCPStore
from torchft import Manager, Optimizer, ProcessGroupGloo
from torchft.coordination import LighthouseServer

import builders_ends
import builders_pg
import builders_torchft as build
from checkpointheal.integrations.torchft import HealTransport

STEPS = 3


class Replica:
    """A model with weights of its own, which its Manager is to replace by those of replica 0."""

    def __init__(self, number: int, lighthouse: str, in_place: bool, before_send: Callable[[int], None]) -> None:
        self.net = nn.Linear(8, 8)
        nn.init.constant_(self.net.weight, float(number))
        nn.init.constant_(self.net.bias, float(number))
        self._group = ProcessGroupGloo(timeout=build.SECONDS)
        self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.manager = Manager(
            pg=self._group,
            load_state_dict=self.net.load_state_dict,
            state_dict=self.net.state_dict,
            min_replica_size=1,
            use_async_quorum=not in_place,
            timeout=build.SECONDS,
            rank=0,
            world_size=1,
            store_addr="127.0.0.1",
            store_port=self._store.port,
            lighthouse_addr=lighthouse,
            replica_id=f"replica_{number}",
            hostname="127.0.0.1",
            checkpoint_transport=HealTransport(
                builders_pg.Recording(self._group, before_send),
                build.SECONDS,
                build.CPU,
                self._target if in_place else None,
            ),
        )

    def _target(self) -> dict[str, Any]:
        return {"user": {"default": self.net.state_dict()}, "torchft": self.manager.state_dict()}

    def train(self) -> int:
        """So many committed steps; how many were tried."""
        optimizer, tried = Optimizer(self.manager, torch.optim.SGD(self.net.parameters(), lr=0.1)), 0
        while self.manager.current_step() < STEPS:
            optimizer.zero_grad()
            self.net(torch.ones(1, 8)).sum().backward()
            for parameter in self.net.parameters():
                self.manager.allreduce(parameter.grad).wait()
            optimizer.step()
            tried += 1
        return tried


def trained(
    in_place: bool, before_send: Callable[[int], None] = lambda _number: None
) -> tuple[list[Replica], list[int]]:
    """Two replicas after all their steps, and how many each tried."""
    lighthouse = LighthouseServer(bind="127.0.0.1:0", min_replicas=2, join_timeout_ms=10_000)
    replicas = [Replica(number, lighthouse.address(), in_place, before_send) for number in (0, 1)]
    try:
        return replicas, builders_ends.side_by_side(*[replica.train for replica in replicas])
    finally:
        for replica in replicas:
            replica.manager.shutdown(wait=False)
        lighthouse.shutdown()


def weights(replica: Replica) -> bytes:
    return b"".join(builders_pg.raw(parameter) for parameter in replica.net.parameters())


@pytest.mark.parametrize("in_place", [False, True], ids=["beside the forward pass", "in place, before it"])
def test_replicas_that_begin_with_other_weights_go_on_with_the_same(in_place: bool) -> None:
    replicas, tried = trained(in_place)
    assert tried == [STEPS, STEPS]
    assert weights(replicas[0]) == weights(replicas[1])


def test_after_a_heal_that_broke_the_next_quorum_heals() -> None:
    broken: list[int] = []

    def break_once(number: int) -> None:
        if number == 2 and not broken:
            broken.append(number)
            raise RuntimeError("the cable is out")

    replicas, tried = trained(in_place=False, before_send=break_once)
    assert broken
    assert min(tried) > STEPS
    assert weights(replicas[0]) == weights(replicas[1])
