"""What an operator does by each of its rights: how it is made to, and whether it did.

docs/rbac.md names one of these for every right. Must not know which right that is, nor how one is taken away.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256

from builders_cluster import PATIENCE, SYSTEM, Job, Json, Refused, condition, found, healed_by, kubectl, leader, one
from builders_jobs import json_of
from builders_late import AGENT, PreparedJob, late_ones, unseen
from builders_release import upgrade
from builders_tokens import Waiting, operators_log, waiting

NAME = "checkpointheal"
ROOT, CERTIFICATE = f"{NAME}-gateway-root", f"{NAME}-webhook-tls"
NOW = ("--grace-period=0", "--force", "--wait=false")
OPERATORS = "app.kubernetes.io/component=operator"
LONG = 20_000
"""Steps: no probe sees the end of it."""
CALM_SECONDS = 20.0
"""Longer than the longest pause between two tries of a watch."""
A_NEXT_ONE = 4


class Scene:
    """A job that trains and was healed once, and a pod that speaks for itself: each from when it is first wanted."""

    def __init__(self, namespace: str, spare: str) -> None:
        self.namespace, self.spare = namespace, spare
        self.began = ""
        self.uid = ""
        self.late: Job | None = None
        self.roots: frozenset[str] = frozenset()

    @cached_property
    def pod(self) -> Waiting:
        return waiting(self.namespace, "first")

    @cached_property
    def job(self) -> Job:
        patient = {"CHECKPOINTHEAL_RESTORE_BUDGET": str(PATIENCE)}  # a right is away for longer than a restore may take
        job = Job(self.namespace, steps=LONG, environment={"PACE": "0.5"} | patient).start()
        job.until_step(3)
        job.delete_pods(1)
        healed_by(job, 1, "Peer")
        return job

    def begin(self) -> None:
        """What operators say from now on counts. The job was there before: without a right it might never train."""
        assert self.job
        self.began = _moment(0)

    def said(self, since: str = "") -> list[str]:
        """By operators, since the probe began."""
        return [each["message"] for each in operators_log() if each["time"] >= (since or self.began)]


def _nothing(_scene: Scene) -> None:
    pass


@dataclass(frozen=True)
class Probe:
    """`mend` takes back what was done to have it seen."""

    provoke: Callable[[Scene], None]
    works: Callable[[Scene], bool]
    mend: Callable[[Scene], None] = _nothing


def _moment(ago: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _both_start_again(_scene: Scene) -> None:
    kubectl("delete", "pod", "-n", SYSTEM, "-l", OPERATORS, *NOW)


def _another_leads() -> None:
    """It looks at once; one that has led for a while looks every minute. Without a lease nobody leads."""
    if name := leader():
        kubectl("delete", "pod", "-n", SYSTEM, name, *NOW, "--ignore-not-found")


def _lead_and_are_ready(_scene: Scene) -> bool:
    pods = found("pods", SYSTEM, OPERATORS)
    ready = all(condition(each, "Ready")["status"] == "True" for each in pods)
    return ready and len(pods) == 2 and leader() in {each["metadata"]["name"] for each in pods}


def _watch_in_peace(scene: Scene) -> bool:
    return _lead_and_are_ready(scene) and not any("forbidden" in each for each in scene.said(_moment(CALM_SECONDS)))


def _answer(scene: Scene) -> bool:
    try:
        return scene.pod.ask(scene.pod.token(), scene.pod.report()).status == 200
    except Refused:
        return False


def _a_pod_is_lost(scene: Scene) -> None:
    scene.uid = scene.job.uid(1)
    scene.job.delete_pods(1)


def _it_is_healed(scene: Scene) -> bool:
    new = scene.job.uid(1)
    over = [each for each in scene.job.heals_of(1) if each["spec"]["recipient"]["podUID"] == new != scene.uid]
    return any(condition(each, "Healed")["status"] == "True" for each in over)


def _its_next_heals_name_is_taken(scene: Scene) -> None:
    """By one of nobody's; then its trainer ends and asks."""
    members = scene.job.policy_status()["epoch"]["members"]
    (known,) = [each for each in members if each["podUID"] == scene.job.uid(1)]
    (last, *_) = reversed(scene.job.heals_of(1))
    for number in range(known["request"] + 1, known["request"] + A_NEXT_ONE):
        request = f"{known['podUID']}/{known['agent']}/{number}"
        name = f"heal-{sha256(request.encode()).hexdigest()[:12]}"
        taken = {key: last[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": name}}
        kubectl("create", "-n", scene.job.namespace, "-f", "-", given=json.dumps(taken))
    scene.job.kill(1)


def _one_of_nobodys_is_gone(scene: Scene) -> bool:
    return len(_nobodys(scene)) < A_NEXT_ONE - 1


def _their_names_are_free(scene: Scene) -> None:
    if strangers := _nobodys(scene):
        kubectl("delete", "heals", "-n", scene.job.namespace, *strangers)


def _nobodys(scene: Scene) -> list[str]:
    return [each["metadata"]["name"] for each in scene.job.heals if "ownerReferences" not in each["metadata"]]


def _its_verdict_is_an_event(scene: Scene) -> bool:
    """Of the pod that came in place of the one that was lost."""
    new = scene.job.uid(1)
    told = [each for each in found("events", scene.namespace) if each["involvedObject"].get("uid") == new != scene.uid]
    return any(each["reason"] == "Healed" for each in told)


def _limit(limit: int) -> Callable[[Scene], None]:
    def set_to(scene: Scene) -> None:
        said = json.dumps({"spec": {"historyLimit": limit}})
        kubectl("patch", NAME, scene.job.name, "-n", scene.job.namespace, "--type=merge", "-p", said)

    return set_to


def _none_is_kept(scene: Scene) -> bool:
    return not any(each.get("status", {}).get("concludedAt") for each in scene.job.heals)


def _a_pod_was_made_without_an_agent(scene: Scene) -> None:
    scene.late = PreparedJob(scene.spare, name="late")
    with unseen(scene.late, 0):
        scene.late.start()


def _it_has_one(scene: Scene) -> bool:
    return scene.late is not None and late_ones(scene.late, 0) == [AGENT]


def _late_agents_are_off(_scene: Scene) -> None:
    upgrade("operator.lateAgents=false")


def _is_gone(kind: str, name: str) -> Callable[[Scene], None]:
    def remove(_scene: Scene) -> None:
        kubectl("delete", kind, "-n", SYSTEM, name, "--ignore-not-found")
        _another_leads()

    return remove


def _is_there(kind: str, name: str) -> Callable[[Scene], bool]:
    return lambda _scene: one(kind, SYSTEM, name) is not None


def _is_spoilt(kind: str, name: str, change: Json) -> Callable[[Scene], None]:
    def spoil(_scene: Scene) -> None:
        kubectl("patch", kind, "-n", SYSTEM, name, "--type=merge", "-p", json.dumps(change))
        _another_leads()

    return spoil


def _root() -> str:
    return str((one("configmap", SYSTEM, ROOT) or {"data": {}})["data"].get("root.pem", ""))


def _roots() -> frozenset[str]:
    return frozenset(_root().split("-----BEGIN CERTIFICATE-----")[1:])


def _one_is_new(scene: Scene) -> bool:
    return not _roots() <= scene.roots


def _certificate_is_one(_scene: Scene) -> bool:
    data = (one("secret", SYSTEM, CERTIFICATE) or {"data": {}})["data"]
    return base64.b64decode(data.get("tls.crt", "")).startswith(b"-----BEGIN")


def _nobody_is_believed(_scene: Scene) -> None:
    change = json.dumps([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}])
    kubectl("patch", "mutatingwebhookconfiguration", NAME, "--type=json", "-p", change)
    _another_leads()


def _the_webhook_is_believed(_scene: Scene) -> bool:
    (webhook,) = json_of("mutatingwebhookconfiguration", NAME)["webhooks"]
    return bool(webhook["clientConfig"].get("caBundle"))


def _lives(*seconds: int) -> Callable[[Scene], None]:
    """Not by Helm: it would give the right back."""
    names = [f"CHECKPOINTHEAL_{each}_SECONDS" for each in ("CERTIFICATE", "ROOT", "SKEW")]
    said = [f"{name}={value}" for name, value in zip(names, seconds, strict=True)]

    def set_to(scene: Scene) -> None:
        scene.roots = _roots()
        kubectl("set", "env", "-n", SYSTEM, f"deploy/{NAME}", *said)
        kubectl("rollout", "status", "-n", SYSTEM, f"deploy/{NAME}", "--timeout=300s", seconds=320)

    return set_to


PROBES = {
    "leads": Probe(_both_start_again, _lead_and_are_ready),
    "watches": Probe(_both_start_again, _watch_in_peace),
    "answers": Probe(_both_start_again, _answer),
    "heals": Probe(_a_pod_is_lost, _it_is_healed),
    "gives way": Probe(_its_next_heals_name_is_taken, _one_of_nobodys_is_gone, _their_names_are_free),
    "tells": Probe(_a_pod_is_lost, _its_verdict_is_an_event),
    "forgets": Probe(_limit(0), _none_is_kept, _limit(50)),
    "adds late": Probe(_a_pod_was_made_without_an_agent, _it_has_one, _late_agents_are_off),
    "makes the lease": Probe(_is_gone("lease", NAME), _is_there("lease", NAME)),
    "makes the certificate": Probe(_is_gone("secret", CERTIFICATE), _is_there("secret", CERTIFICATE)),
    "makes the root": Probe(_is_gone("configmap", ROOT), _is_there("configmap", ROOT)),
    "tells the root": Probe(_is_spoilt("configmap", ROOT, {"data": {"root.pem": ""}}), lambda _scene: bool(_root())),
    "certifies": Probe(_is_spoilt("secret", CERTIFICATE, {"data": {"tls.crt": "eA=="}}), _certificate_is_one),
    "vouches": Probe(_nobody_is_believed, _the_webhook_is_believed),
    "turns": Probe(_lives(60, 600, 2), _one_is_new, _lives(86_400, 63_072_000, 3_600)),
}
"""By the names that docs/rbac.md calls them."""
