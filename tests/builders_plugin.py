"""What the kubectl plugin meets: a real operator's objects on a fake API server, and its command line before them."""

import contextlib
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from aiohttp import web
from rich.console import Console

from builders_api import JOB, WHERE
from builders_core import m
from builders_injection import injected
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.injection_parts import AGENT
from checkpointheal_operator.plugin.__main__ import answer
from checkpointheal_operator.plugin.asked import parser
from checkpointheal_operator.plugin.pages import Page
from checkpointheal_operator.plugin.printing import write
from checkpointheal_operator.plugin.seen import Seen, seen
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, EVENTS, HEALS, PODS, Kind, Ref
from cluster_simulation import ClusterSimulation
from fake_cluster import FakeCluster
from replicas import Stage

NOW = 1_800_000_000.0
POLICY = Ref(CHECKPOINTHEALS, WHERE, JOB)
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{{name: here, context: {{cluster: c, user: u, namespace: {namespace}}}}}]
clusters: [{{name: c, cluster: {{server: "{url}"}}}}]
users: [{{name: u, user: {{token: secret}}}}]
"""


def a_training_job(replicas: int = 3, ranks: int = 1) -> ClusterSimulation:
    """It has begun and trained to step 5."""
    job = ClusterSimulation(replicas, ranks)
    job.now = job.leader_since = NOW
    for pod in job.pods.values():
        pod.born = NOW
    job.go_on()
    job.now += 2.0
    job.train_to(5)
    job.go_round()
    return job


def replaced(job: ClusterSimulation, member: str = "1/0") -> ClusterSimulation:
    """That pod was replaced; nothing has crossed yet."""
    job.replace_pod(m(member))
    job.transfers_finish = False
    for _ in range(4):
        job.now += 0.5
        job.go_round()
    return job


def healed(job: ClusterSimulation) -> ClusterSimulation:
    """What was under way comes to its end."""
    job.transfers_finish = job.transfers_succeed = True
    for _ in range(6):
        job.now += 0.4
        job.go_round()
    job.go_on()
    return job


def receiving(job: ClusterSimulation, crossed: int, total: int = 2 << 30) -> ClusterSimulation:
    """The operator has told so many bytes of the open heal."""
    for agent in (pod.agent for pod in job.pods.values() if pod.agent is not None and pod.agent.fetching):
        donor = agent.fetching.donors[0].pod
        said = {"state": "receiving", "bytes": crossed, "total": total, "donor": donor}
        agent.transfer = agent.transfer.model_copy(update=said)
    job.now += 6.0
    job.go_round()
    return job


def with_agents(cluster: FakeCluster, *besides: str) -> None:
    """The pods as the webhook and a kubelet leave them; those named `besides` slipped through."""
    for ref in [each for each in cluster.objects if each.kind == PODS]:
        pod = cluster.objects[ref]
        pod["spec"] |= {"nodeName": f"node-{ref.name[4]}"}
        pod["spec"].pop("initContainers", None)
        pod["spec"].setdefault("containers", [{"name": "trainer", "image": "gpt:1", "env": [SECRET_VARIABLE]}])
        if ref.name not in besides:
            pod = injected(pod)
            running = {"name": AGENT, "state": {"running": {}}, "restartCount": 0}
            pod["status"] |= {"initContainerStatuses": [running]}
        cluster.objects[ref] = pod


# What must never be found in a report.
SECRET = "hunter2-very-secret"
SECRET_VARIABLE = {"name": "WANDB_API_KEY", "value": SECRET}


def seen_of(cluster: FakeCluster) -> Seen:
    """All of it, as a reader would see it."""
    return seen(cluster.all(CHECKPOINTHEALS), cluster.all(HEALS), cluster.all(PODS))


def text(page: Page) -> str:
    """As it is written where there is no terminal."""
    stream = io.StringIO()
    write(Console(file=stream, width=100_000, highlight=False, markup=False, emoji=False), page)
    return stream.getvalue()


def drawn(page: Page, width: int = 80) -> str:
    """As it is drawn on a terminal so wide, colours and all."""
    stream = io.StringIO()
    write(Console(file=stream, width=width, force_terminal=True, highlight=False, markup=False, emoji=False), page)
    return stream.getvalue()


def without_colours(said: str) -> str:
    """The letters alone."""
    return re.sub(r"\x1b\[[0-9;]*m", "", said)


class Ran(NamedTuple):
    """What a command came to."""

    status: int
    out: str
    err: str


class Desktop:
    """A user's machine with a kubeconfig, before an API server that may be told to answer otherwise."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage, self.folder = stage, folder
        self.now = NOW
        self.kubeconfig = folder / "config"
        self.kubeconfig.write_text(KUBECONFIG.format(url=stage.url, namespace=WHERE))
        self.answers: dict[str, Callable[[web.Request], web.Response | None]] = {}
        self.says(f"/api/v1/namespaces/{WHERE}", {"metadata": {"name": WHERE}})
        self.says("/version", {"gitVersion": "v1.33.1"})
        self.says("/log", f"asked with Bearer {SECRET}\n")
        self.says("/mutatingwebhookconfigurations", {"metadata": {"resourceVersion": "1"}, "items": []})
        self.says(
            "/api/v1/namespaces", {"metadata": {"resourceVersion": "1"}, "items": [{"metadata": {"name": WHERE}}]}
        )
        self.selected: list[tuple[str, str, str]] = []
        stage.call(lambda: setattr(stage.api, "refuse", self._answer))

    def has(self, job: ClusterSimulation, *besides: str) -> None:
        """The job's objects are on the server. Pods named `besides` have no agent."""
        self.now = job.now
        with_agents(job.cluster, *besides)
        there = self.stage.cluster

        def move() -> None:
            there.objects.update(job.cluster.objects)
            there._version, there._uid = job.cluster._version, job.cluster._uid

        self.stage.call(move)

    def put(self, kind: Kind, body: Json) -> None:
        """One more object."""
        self.stage.call(lambda: self.stage.cluster.put(kind, body))

    def says(self, path: str, body: Json | str, status: int = 200) -> None:
        """The server answers requests whose path ends so like this."""

        def respond(_request: web.Request) -> web.Response:
            return web.Response(text=body, status=status) if isinstance(body, str) else web.json_response(body)

        self.answers[path] = respond

    def forbids(self, plural: str, verb: str = "list") -> None:
        """As a server that knows the user says no."""

        def respond(request: web.Request) -> web.Response | None:
            asked = "watch" if request.query.get("watch") else "list"
            if asked != verb:
                return None
            told = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": f"cannot {verb} {plural}"}
            return web.json_response(told, status=403)

        self.answers[plural] = respond

    def run(self, *argv: str, **environment: str) -> Ran:
        """The command, in this process, without a terminal."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stderr(err):
            known = {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder)} | environment
            status = answer(parser().parse_args(argv), known, out, lambda: self.now)
        return Ran(status, out.getvalue(), err.getvalue())

    def _answer(self, request: web.Request) -> web.Response | None:
        query = request.query
        self.selected.append((request.path, query.get("labelSelector", ""), query.get("fieldSelector", "")))
        for path, respond in self.answers.items():
            if request.path.endswith(path) and (response := respond(request)) is not None:
                return response
        return None


@contextlib.contextmanager
def a_desktop(folder: Path) -> Iterator[Desktop]:
    """It and its server, while they are up."""
    with Stage() as stage:
        yield Desktop(stage, folder)


def an_event(pod: Json, reason: str, message: str, when: str) -> Json:
    """Something that was said of a pod."""
    metadata = pod["metadata"]
    about = {"kind": "Pod", "name": metadata["name"], "uid": metadata["uid"], "namespace": metadata["namespace"]}
    return {
        "apiVersion": EVENTS.api,
        "kind": EVENTS.kind,
        "metadata": {"name": f"{metadata['name']}.{reason.lower()}", "namespace": metadata["namespace"]},
        "involvedObject": about,
        "type": "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": when,
    }


def as_text(found: object) -> str:
    """All that an object says."""
    return json.dumps(found)
