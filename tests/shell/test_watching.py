"""A mirror comes to hold what the API server has, whatever befalls the stream."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from builders_api import WHERE, pod_object
from builders_core import a_pod, m
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.shell import kube, watching
from checkpointheal_operator.shell.cluster import PODS, Ref
from checkpointheal_operator.shell.gather import OPTED_IN
from checkpointheal_operator.shell.kube import Kube, Selection
from checkpointheal_operator.shell.mirror import Mirror
from checkpointheal_operator.shell.watching import Watch
from fake_api import FAULTS, FakeApi, WatchedCluster

PATIENCE = 30.0
QUIET = 0.3


class Scene:
    """A server, and a mirror that follows it."""

    def __init__(self, cluster: WatchedCluster, api: FakeApi, watch: Watch, mirror: Mirror) -> None:
        self.cluster, self.api, self.watch, self.mirror = cluster, api, watch, mirror
        self._born = 0

    def add(self, name: str) -> None:
        self._born += 1
        pod = pod_object(a_pod(m("0/0"), name=name, uid=f"{name}-{self._born}"))
        self.cluster.put(PODS, pod)

    def change(self, name: str, node: str) -> None:
        stored = self.cluster.objects[ref(name)]
        self.cluster.put(PODS, stored | {"spec": {"nodeName": node}})

    @property
    def stands(self) -> dict[str, Json]:
        return {each["metadata"]["name"]: each for each in self.cluster.all(PODS)}

    @property
    def seen(self) -> dict[str, Json]:
        return {each["metadata"]["name"]: each for each in self.mirror}

    async def equal(self) -> None:
        await until(lambda: self.seen == self.stands)


def ref(name: str) -> Ref:
    return Ref(PODS, WHERE, name)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def a_scene(names: tuple[str, ...] = ("p1", "p2", "p3"), *faults: str) -> AsyncIterator[Scene]:
    cluster = WatchedCluster()
    api = FakeApi(cluster)
    api.faults[PODS.plural].extend(faults)
    mirror = Mirror(lambda *_: None)
    async with api.serving() as url, aiohttp.ClientSession() as session:
        watch = Watch(Kube(session, url, QUIET), Selection(PODS, OPTED_IN), mirror, time.monotonic)
        scene = Scene(cluster, api, watch, mirror)
        for name in names:
            scene.add(name)
        following = asyncio.create_task(watch.run())
        try:
            await watch.synced.wait()
            yield scene
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def follow(
    scene: Callable[[Scene], Awaitable[None]], *faults: str, names: tuple[str, ...] = ("p1", "p2", "p3")
) -> None:
    async def go() -> None:
        async with a_scene(names, *faults) as found:
            await scene(found)

    asyncio.run(go())


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SOON", 0.01)
    monkeypatch.setattr(watching, "SLOWEST", 0.02)


def test_a_list_longer_than_a_chunk_is_read_to_its_end(monkeypatch):
    monkeypatch.setattr(kube, "CHUNK", 2)

    async def scene(found: Scene) -> None:
        assert found.seen == found.stands
        assert len(found.seen) == 5
        assert found.api.asked.count(("GET", "/api/v1/pods")) >= 3

    follow(scene, names=("p1", "p2", "p3", "p4", "p5"))


def test_a_list_whose_rest_is_forgotten_is_begun_anew(monkeypatch):
    monkeypatch.setattr(kube, "CHUNK", 2)

    async def go() -> None:
        cluster = WatchedCluster()
        api = FakeApi(cluster)
        api.pages_expire = 2
        for name in ("p1", "p2", "p3"):
            cluster.put(PODS, pod_object(a_pod(m("0/0"), name=name, uid=name)))
        mirror = Mirror(lambda *_: None)
        async with api.serving() as url, aiohttp.ClientSession() as session:
            watch = Watch(Kube(session, url, QUIET), Selection(PODS, OPTED_IN), mirror, time.monotonic)
            following = asyncio.create_task(watch.run())
            await asyncio.wait_for(watch.synced.wait(), PATIENCE)
            following.cancel()
        assert len(mirror) == 3
        assert api.pages_expire == 0

    asyncio.run(go())


def test_the_server_is_asked_for_no_pod_that_did_not_opt_in():
    async def scene(found: Scene) -> None:
        other = pod_object(a_pod(m("0/0"), name="other", uid="other"))
        other["metadata"]["labels"] = {}
        found.cluster.put(PODS, other)
        found.add("p4")
        await until(lambda: "p4" in found.seen)
        assert "other" not in found.seen
        assert set(found.api.selected) == {OPTED_IN}

    follow(scene)


@pytest.mark.parametrize("fault", ["", *FAULTS])
def test_what_happens_around_a_fault_of_the_stream_is_seen(fault):
    async def scene(found: Scene) -> None:
        found.change("p1", "n1")
        found.add("p4")
        await found.equal()
        found.cluster.remove(ref("p2"))
        found.change("p4", "n2")
        await found.equal()

    follow(scene, fault)


def test_a_pod_that_was_deleted_while_nobody_watched_is_gone_after_the_next_list():
    async def scene(found: Scene) -> None:
        found.cluster.remove(ref("p2"))
        found.add("p4")
        found.cluster.compact()
        await found.equal()
        assert sorted(found.seen) == ["p1", "p3", "p4"]

    follow(scene, "stall")


@pytest.mark.parametrize("seed", range(int(os.environ.get("HISTORIES", "8"))))
def test_after_any_history_with_any_faults_the_mirror_is_what_the_server_has(seed):
    chance = random.Random(seed)

    async def scene(found: Scene) -> None:
        for step in range(60):
            name = f"p{chance.randrange(6)}"
            match chance.randrange(4):
                case 0 if name in found.stands:
                    found.cluster.remove(ref(name))
                case 1 if name in found.stands:
                    found.change(name, f"n{step}")
                case 2 if chance.random() < 0.3:
                    found.cluster.compact()
                case _:
                    if name not in found.stands:
                        found.add(name)
            await asyncio.sleep(chance.choice((0, 0, 0.002, 0.01)))
        await found.equal()

    follow(scene, *(chance.choice(FAULTS) for _ in range(12)))


def test_the_age_of_a_view_is_the_servers_silence():
    async def go() -> None:
        now = 100.0
        cluster = WatchedCluster()
        async with FakeApi(cluster, bookmark_every=60).serving() as url, aiohttp.ClientSession() as session:
            watch = Watch(Kube(session, url), Selection(PODS), Mirror(lambda *_: None), lambda: now)
            await watch.relist()
            assert watch.age == 0.0
            now = 107.0
            assert watch.age == 7.0

    asyncio.run(go())
