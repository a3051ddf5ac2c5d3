"""Pods that only wait, tokens that are minted for them, and what the gateway answers to whoever shows one."""

import json
from typing import Any, NamedTuple

from builders_cluster import IMAGE, SYSTEM, Json, apply, kubectl, one, until
from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.report import AgentReport

AUDIENCE = "checkpointheal"
GATEWAY = f"https://checkpointheal.{SYSTEM}.svc:8443/v1/report"
SHORTEST = 600
"""Seconds. The API server mints no token that lasts for less."""
LEEWAY = 75
"""Seconds for which the API server believes a token beyond its end: a minute, and somewhat more."""
ASK = """
import json, ssl, sys, urllib.error, urllib.request

said = json.load(sys.stdin)
headers = {"Authorization": "Bearer " + said["token"]}
request = urllib.request.Request(said["url"], said["body"].encode(), headers)
try:
    answer = urllib.request.urlopen(request, context=ssl.create_default_context(cadata=said["root"]), timeout=30)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, answer.read().decode()]))
"""
"""Anybody's own program, in a pod that can reach the gateway."""


class Answer(NamedTuple):
    status: int
    text: str


class Waiting(NamedTuple):
    """A pod that has a place in a job, and no agent: nobody but us speaks for it."""

    namespace: str
    name: str
    uid: str
    job: str
    replica: int

    def token(self, *, audience: str = AUDIENCE, bound: bool = True) -> str:
        """As the kubelet would get it for the agent."""
        to = ["--bound-object-kind=Pod", f"--bound-object-name={self.name}"] if bound else []
        options = [f"--audience={audience}", f"--duration={SHORTEST}s", *to]
        return kubectl("create", "token", "default", "-n", self.namespace, *options).strip()

    def report(self) -> str:
        """As its agent would send it."""
        return AgentReport(
            job=self.job,
            member=MemberId(replica=self.replica),
            pod=self.name,
            pod_uid=self.uid,
            agent="test",
            sequence=1,
            endpoint=Endpoint(host="127.0.0.1", port=1),
        ).model_dump_json()

    def ask(self, token: str, body: str) -> Answer:
        """From inside the pod."""
        said = {"url": GATEWAY, "token": token, "body": body, "root": root()}
        command = ["exec", "-i", "-n", self.namespace, self.name, "--", "python", "-c", ASK]
        return Answer(*json.loads(kubectl(*command, given=json.dumps(said))))


def root() -> str:
    """What agents are told to believe."""
    return str((one("configmap", SYSTEM, "checkpointheal-gateway-root") or {})["data"]["root.pem"])


def waiting(namespace: str, name: str, replica: int = 0, job: str = "training") -> Waiting:
    """A new one."""
    place = {"checkpointheal.dev/job": job, "checkpointheal.dev/replica": str(replica)}
    container: Any = {"name": "trainer", "image": IMAGE, "imagePullPolicy": "IfNotPresent"}
    container["command"] = ["sleep", "infinity"]
    pod: Json = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": place},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }
    until(lambda: one("serviceaccount", namespace, "default"), "the namespace has its account")
    apply(namespace, pod)
    kubectl("wait", "-n", namespace, f"pod/{name}", "--for=condition=Ready", "--timeout=120s", seconds=150)
    there = one("pod", namespace, name) or {}
    return Waiting(namespace, name, there["metadata"]["uid"], job, replica)


def gateways_log() -> list[Json]:
    """What both operators told of agents' requests, since they began."""
    return [each for each in operators_log() if each["logger"] == "checkpointheal.gateway"]


def operators_log() -> list[Json]:
    """Of both operators, since they began."""
    text = kubectl("logs", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator", "--tail=-1", "--prefix=false")
    return [json.loads(each) for each in text.splitlines() if each.startswith("{")]
