"""Replicas of the operator before a fake API server, in a thread of their own; and a job whose agents speak HTTP."""

import asyncio
import concurrent.futures
import gc
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Self

from builders_api import JOB, WHERE, a_policy, pod_object
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.orders import Orders
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.shell.access import Access
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, HEALS, PODS, Ref
from checkpointheal_operator.shell.kube import Kube
from checkpointheal_operator.shell.leases import Terms
from checkpointheal_operator.shell.replica import Replica
from checkpointheal_operator.shell.settings import OperatorSettings
from fake_api import FakeApi, WatchedCluster, pod_token
from simulation import Pod, Simulation

PATIENCE = 25.0
TERMS = Terms(holds=1.0, gives_up=0.7, every=0.1)
POLICY = Ref(CHECKPOINTHEALS, WHERE, JOB)


class Running:
    """A task in another thread's loop, that can be ended and waited for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
        self._loop, self._ended = loop, threading.Event()
        self._task = asyncio.run_coroutine_threadsafe(self._begin(work), loop).result(PATIENCE)
        self.error: BaseException | None = None

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        assert self._ended.wait(PATIENCE), "it does not end"
        self.check()

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    async def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(self._run(work))

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            return
        except BaseException as error:
            self.error = error
        finally:
            self._ended.set()


class Stage:
    """One loop in one thread: the API server and any number of replicas. Everything of theirs is touched by `call`."""

    def __init__(self, **settings: Any) -> None:
        """`settings` are those of every replica."""
        self.cluster, self._settings = WatchedCluster(), settings
        self.api = FakeApi(self.cluster)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.url = ""
        self._replicas, self._leader_port = 0, _free_port()
        self._running: dict[str, tuple[Replica, Running]] = {}

    def __enter__(self) -> Self:
        """What was imported is left alone by the collector, as in an operator's own process."""
        gc.freeze()
        self._thread.start()
        self._api = Running(self._loop, self._serve())
        self.until(lambda: bool(self.url))
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._running):
            self.stop(name)
        self._api.end()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        gc.unfreeze()

    def start(self, name: str) -> Replica:
        """Another replica, at an address of its own."""
        found: concurrent.futures.Future[Replica] = concurrent.futures.Future()
        running = Running(self._loop, self._replica(name, found))
        self._running[name] = (found.result(PATIENCE), running)
        self.until(lambda: bool(self._running[name][0].gateway_port))
        return self._running[name][0]

    def started(self) -> Replica | None:
        """The first one, if there is one."""
        return next((replica for replica, _ in self._running.values()), None)

    def stop(self, name: str) -> None:
        """As SIGTERM does."""
        self._running.pop(name)[1].end()

    def probe(self, name: str, path: str) -> int:
        """The status that a kubelet would get."""
        return self.page(name, path)[0]

    def page(self, name: str, path: str) -> tuple[int, str]:
        """What anybody gets at the health port."""
        replica = self._running[name][0]
        link = http.client.HTTPConnection(replica.settings.pod_ip, replica.health_port, timeout=10)
        try:
            link.request("GET", path)
            answer = link.getresponse()
            return answer.status, answer.read().decode()
        finally:
            link.close()

    def call(self, do: Callable[[], Any]) -> Any:
        """Run it where the servers run."""

        async def done() -> Any:
            return do()

        return self._spawn(done()).result(PATIENCE)

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            for _replica, running in self._running.values():
                running.check()
            assert time.monotonic() < deadline, "it does not come to be"
            time.sleep(0.01)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> concurrent.futures.Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _serve(self) -> None:
        async with self.api.serving() as self.url:
            await asyncio.Event().wait()

    async def _replica(self, name: str, found: concurrent.futures.Future[Replica]) -> None:
        self._replicas += 1
        host = f"127.0.0.{self._replicas}"
        said = {"gateway_port": 0, "leader_port": self._leader_port, "health_port": 0} | self._settings
        settings = OperatorSettings(pod_name=name, pod_ip=host, namespace="system", host=host, **said)
        access = Access(self.url, lambda: f"token of {name}")
        async with access.session() as session:
            replica = Replica(settings, access, Kube(session, self.url, quiet=2.0), TERMS)
            found.set_result(replica)
            await replica.run()


class HttpSimulation(Simulation):
    """The same job, but its operator is a process behind a gateway, and its memory is the API."""

    def __init__(self, stage: Stage, replicas: int = 3, ranks: int = 1, **apart: str) -> None:
        """`apart` from another job before the same operator: its `where`, or the `app` that its pods are labelled."""
        self.where, self.app = apart.get("where", WHERE), apart.get("app", JOB)
        super().__init__(replicas, ranks)
        self.stage, self.replica = stage, stage.started() or stage.start("operator-0")
        self.refused: list[int] = []
        self.apply_policy()

    def apply_policy(self, **spec: object) -> None:
        layout = {"replicas": self.policy.replicas, "ranks": self.policy.ranks}
        body = a_policy(layout=layout, selector={"matchLabels": {"app": self.app}}, **spec)
        body["metadata"] |= {"namespace": self.where, "name": self.app}
        self.stage.call(lambda: self.stage.cluster.put(CHECKPOINTHEALS, body))

    def go_round(self) -> bool:
        self.stage.call(self._set_pods)
        return super().go_round()

    def deliver(self, index: int) -> bool:
        if not self.flying:
            return False
        report = self.flying.pop(index % len(self.flying))
        self.exchange(report.pod_uid, "POST", "/v1/report", report.model_dump_json())
        return True

    def look(self) -> list[Any]:
        """The operator looks when it pleases; here it is only given what there is to see, and heard."""
        for pod in self.pods.values():
            body = self.exchange(pod.uid, "GET", "/v1/orders?seen=-1", None)
            if body is not None:
                self.ordered[pod.uid] = Orders.model_validate_json(body)
        return []

    def exchange(self, token: str, method: str, path: str, body: str | None) -> str | None:
        """One request of an agent; what it cannot have it asks for again."""
        link = http.client.HTTPConnection(self.replica.settings.pod_ip, self.replica.gateway_port, timeout=10)
        try:
            link.request(method, path, body, {"Authorization": f"Bearer {token}"})
            answer = link.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            link.close()
        if answer.status != 200:
            self.refused.append(answer.status)
        return text if answer.status == 200 else None

    def go_until(self, true: Callable[[], bool]) -> None:
        def went() -> bool:
            self.go_round()
            return true()

        self.stage.until(went)

    @property
    def heals(self) -> list[Heal]:
        found = self.stage.call(lambda: self.stage.cluster.all(HEALS))
        return [Heal.model_validate(each) for each in found if self._is_mine(each, "checkpointheal.dev/policy")]

    def is_settled(self) -> bool:
        return self.is_training and all(each.status.concluded_at is not None for each in self.heals)

    def _set_pods(self) -> None:
        cluster, wanted = self.stage.cluster, {Ref(PODS, self.where, each.name): each for each in self.pods.values()}
        there = [ref for ref, body in cluster.objects.items() if ref.kind == PODS and self._is_mine(body, "app")]
        for ref in [ref for ref in there if ref not in wanted]:
            cluster.remove(ref)
        for ref, pod in wanted.items():
            if ref not in cluster.objects:
                body = json.loads(json.dumps(pod_object(pod.facts)))
                body["metadata"]["namespace"] = self.where
                body["metadata"]["labels"]["app"] = self.app
                cluster.put(PODS, body)
                self.stage.api.tokens[pod.uid] = pod_token(self.where, pod.name, pod.uid)

    def _is_mine(self, body: Json, key: str) -> bool:
        metadata = body["metadata"]
        return (metadata["namespace"], metadata["labels"][key]) == (self.where, self.app)

    def _new_pod(self, member: MemberId) -> Pod:
        """Names may be those of another namespace's pods, UIDs never are."""
        pod = super()._new_pod(member)
        pod.uid = f"{self.where}-{self.app}-{pod.uid}"
        pod.name = pod.name if self.app == JOB else f"{self.app}-{pod.name}"
        return pod


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
