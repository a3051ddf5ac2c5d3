"""A mirror comes to hold what the API server has, whatever befalls the stream."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from bad_server import refused
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
    """A server, and a mirror that follows it by a clock of the scene's own."""

    def __init__(self, api: FakeApi, kube: Kube) -> None:
        self.cluster, self.api, self.mirror = api.cluster, api, Mirror(lambda *_: None)
        self.now = 100.0
        self.watch = Watch(kube, Selection(PODS, OPTED_IN), self.mirror, lambda: self.now)
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

    @property
    def lists(self) -> int:
        return len(self.api.selected)

    @property
    def watches(self) -> int:
        return self.api.asked.count(("GET", "/api/v1/pods")) - self.lists

    async def equal(self) -> None:
        await until(lambda: self.seen == self.stands)

    async def tried_again(self, times: int) -> None:
        watches = self.watches
        await until(lambda: self.watches > watches + times)


def ref(name: str) -> Ref:
    return Ref(PODS, WHERE, name)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def a_scene(names: tuple[str, ...], *faults: str, bookmarks: bool = True) -> AsyncIterator[Scene]:
    api = FakeApi(WatchedCluster())
    api.bookmarks = bookmarks
    api.faults[PODS.plural].extend(faults)
    async with api.serving() as url, aiohttp.ClientSession() as session:
        scene = Scene(api, Kube(session, url, QUIET))
        for name in names:
            scene.add(name)
        following = asyncio.create_task(scene.watch.run())
        try:
            await scene.watch.synced.wait()
            yield scene
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def follow(
    scene: Callable[[Scene], Awaitable[None]],
    *faults: str,
    names: tuple[str, ...] = ("p1", "p2", "p3"),
    bookmarks: bool = True,
) -> None:
    async def go() -> None:
        async with a_scene(names, *faults, bookmarks=bookmarks) as found:
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


def test_a_server_that_has_nothing_to_tell_and_sends_no_bookmark_is_heard_all_the_same():
    async def scene(found: Scene) -> None:
        lists = found.lists
        await until(lambda: found.lists > lists + 1)
        found.change("p1", "n1")
        await found.equal()

    follow(scene, bookmarks=False)


def test_what_a_server_that_is_silent_behind_its_answer_does_not_tell_is_seen_by_the_list_after_a_silence():
    async def scene(found: Scene) -> None:
        for name in ("p1", "p2", "p3"):
            found.cluster.swallow(ref(name))
            await found.equal()

    follow(scene, bookmarks=False)


def is_a_watch(request: web.Request) -> bool:
    return "watch" in request.query


def forbid(request: web.Request) -> web.Response | None:
    return refused(403, "Forbidden") if is_a_watch(request) else None


def end_at_once(request: web.Request) -> web.Response | None:
    return web.Response() if is_a_watch(request) else None


@pytest.mark.parametrize("answer", [forbid, end_at_once])
def test_where_no_stream_is_to_be_had_it_is_listed_every_half_minute_and_not_at_each_try(answer):
    async def scene(found: Scene) -> None:
        found.api.refuse = answer
        found.api.strike(PODS, "ended")
        for name in ("p1", "p2"):
            found.cluster.remove(ref(name))
            lists = found.lists
            await found.tried_again(5)
            assert found.lists == lists
            found.now += watching.LISTED_AFTER
            await found.equal()
            assert found.watch.age == 0.0

    follow(scene)


def test_a_server_that_wants_a_pause_is_asked_for_no_list_in_the_streams_place():
    async def scene(found: Scene) -> None:
        found.api.refuse = lambda asked: refused(429, "TooManyRequests") if is_a_watch(asked) else None
        found.now += watching.LISTED_AFTER
        lists = found.lists
        found.api.strike(PODS, "reset")
        await found.tried_again(1)
        assert found.lists == lists

    follow(scene)


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
