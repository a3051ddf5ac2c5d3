"""What the API server does not find is held no longer: no stream need tell of its end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from builders_api import JOB, WHERE, a_policy
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS, PODS, NotThere, Ref
from checkpointheal_operator.shell.mirror import Mirror
from checkpointheal_operator.shell.mirrored import Mirrored
from fake_cluster import FakeCluster

POLICY = Ref(CHECKPOINTHEALS, WHERE, JOB)


class Desk:
    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.mirrors = {kind: Mirror(lambda *_: None) for kind in (CHECKPOINTHEALS, PODS)}
        self.mirrored = Mirrored(self.cluster, self.mirrors)
        self.stored = self.cluster.put(CHECKPOINTHEALS, a_policy())
        self.mirrors[CHECKPOINTHEALS].put(self.stored)


ASKED: list[Callable[[Mirrored], Awaitable[Json]]] = [
    lambda mirrored: mirrored.patch(POLICY, {"status": {"job": "x"}}, status=True),
    lambda mirrored: mirrored.patch(Ref(HEALS, WHERE, "h"), {}),
    lambda mirrored: mirrored.get(Ref(PODS, WHERE, "p")),
]


@pytest.mark.parametrize("ask", ASKED)
def test_what_is_not_there_is_told_and_what_was_held_of_it_is_let_go(ask):
    async def go() -> None:
        desk = Desk()
        pod = {"name": "p", "namespace": WHERE, "uid": "u", "resourceVersion": "1"}
        desk.mirrors[PODS].put({"metadata": pod})
        del desk.cluster.objects[POLICY]
        held = len(desk.mirrors[CHECKPOINTHEALS]) + len(desk.mirrors[PODS])
        with pytest.raises(NotThere):
            await ask(desk.mirrored)
        left = len(desk.mirrors[CHECKPOINTHEALS]) + len(desk.mirrors[PODS])
        assert left == held - (ask is not ASKED[1])

    asyncio.run(go())


def test_a_policy_that_was_made_anew_under_its_name_is_another_one():
    async def go() -> None:
        desk = Desk()
        del desk.cluster.objects[POLICY]
        with pytest.raises(NotThere):
            await desk.mirrored.patch(POLICY, {"status": {"job": "x"}}, status=True)
        again = desk.cluster.put(CHECKPOINTHEALS, a_policy())
        desk.mirrors[CHECKPOINTHEALS].put(again)
        assert await desk.mirrored.get(POLICY) == again

    asyncio.run(go())
