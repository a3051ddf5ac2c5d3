"""What is left in an operator of the pods and heals that have come and gone? What their history names."""

import asyncio
import gc
import random
import re
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import pytest

import virtual_time
from bad_times import STEP, a_server
from checkpointheal_operator.shell import replica as replicas
from checkpointheal_operator.shell.cluster import HEALS
from near_job import NearJob, PoliciesWatched

ROUND, SETTLES = 0.5, 90.0
"""Seconds of virtual time; what was heard of a pod that is gone is forgotten after a minute."""
KEPT, MANY = 2, 16
ELSEWHERE = (asyncio.AbstractEventLoop, type, ModuleType, FunctionType, BuiltinFunctionType)
"""The way to everything else in this process leads through these."""


def words_held(root: object) -> set[str]:
    """Every name in any text that is reached from there."""
    seen, words, ahead = dict[int, Any](), set[str](), [root]
    while ahead:
        each = ahead.pop()
        if id(each) in seen or isinstance(each, ELSEWHERE):
            continue
        seen[id(each)] = each
        if isinstance(each, str):
            words.update(re.findall(r"[\w-]+", each))
        ahead += gc.get_referents(each)
    return words


class Life:
    """One job whose pods are replaced, and whose trainers are killed, one after the other."""

    def __init__(self, job: NearJob) -> None:
        self._job, self._chance = job, random.Random(0)
        self.gone: set[str] = set()
        """UIDs of pods, and names of heals."""

    async def begin(self) -> None:
        self._job.apply_policy(historyLimit=KEPT)
        await self._until_settled()
        for _ in range(STEP):
            self._train()

    async def lose(self, times: int) -> None:
        for _ in range(times):
            member = self._chance.choice(sorted(self._job.pods))
            self.gone |= {self._job.pods[member].uid, *(each.metadata.name for each in self._job.heals)}
            self._job.replace_pod(member)
            await self._until_settled()
            self._train()
        for _ in range(round(SETTLES / ROUND)):
            await self._round()
        self._job.decisions.clear()
        gc.collect()

    async def _until_settled(self) -> None:
        await self._round()
        while not self._job.is_settled():
            await self._round()

    def _train(self) -> None:
        for member in sorted(self._job.pods):
            self._job.train(member)

    async def _round(self) -> None:
        self._job.now = asyncio.get_running_loop().time()
        self._job.go_round()
        await asyncio.sleep(ROUND)


async def _live_through_it() -> None:
    async with a_server() as (api, process):
        life = Life(job := NearJob(api.cluster, api, process))
        await life.begin()
        await life.lose(MANY)
        standing, held = {each["metadata"]["name"] for each in api.cluster.all(HEALS)}, words_held(process.replica)
        assert (process.restarts, len(standing)) == (0, KEPT)
        assert {each.uid for each in job.pods.values()} | standing <= held, "what is there is found"
        named = KEPT * len(job.pods)
        assert len(held & life.gone - standing) <= named, "of what is gone only what the heals name that are kept"


def test_an_operator_names_nothing_that_is_gone_but_in_the_history_of_its_heals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replicas, "OurKinds", PoliciesWatched)
    virtual_time.run(_live_through_it())
