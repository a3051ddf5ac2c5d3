"""What is tried at the operator's two doors, and what may never come of it?

An agent reports anything to the gateway, and the API server asks the webhook anything. Any report ends in a look at its
job that writes only what the API takes; any review in a pod that is allowed, with a patch that can be applied.
"""

import asyncio
import base64
import json
from collections.abc import Mapping
from pathlib import Path
from random import Random

import jsonpatch
import yaml
from pydantic import ValidationError

from builders_api import JOB, WHERE, a_policy, set_pods
from builders_core import (
    NOW,
    SCHEMA,
    a_job,
    decided,
    digest_of,
    m,
    replaced,
    report_of,
    with_received,
    with_report,
    with_trainer,
    with_transfer,
)
from builders_injection import settings
from checkpointheal.contract.report import AgentReport, DrillFacts, Passed
from checkpointheal.contract.signals import Signals
from checkpointheal_operator.api.epoch_record import epoch_status
from checkpointheal_operator.core.hearing import hear
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS
from checkpointheal_operator.shell.look import Surroundings, look
from checkpointheal_operator.shell.objects import Listening
from checkpointheal_operator.webhook.review import API_VERSION, read, review
from fake_cluster import FakeCluster
from fuzz import mutations
from fuzz.outcomes import Aim, require

SPEAKER = m("1/0")
PODS = Path(__file__).parents[1] / "tests" / "injection" / "pods"
SETTINGS = settings()


def worlds() -> list[JobView]:
    """A job that trains, two that wait, one in each state of a transfer to the speaker, and one after it."""
    healing, _ = decided(replaced("1/0"))
    assigned = healing.heals[0].assignment
    if assigned is None:
        raise ValueError("a member that was replaced is assigned a donor")
    transfers = [with_transfer(healing, assigned, state) for state in ("asking", "receiving", "verified", "failed")]
    transfers = [each.model_copy(update={"heals": ()}) for each in transfers]
    healed, _ = decided(with_received(healing, assigned))
    return [a_job(), replaced("1/0"), replaced("0/0"), *transfers, _on_probation(healed)]


def _on_probation(view: JobView) -> JobView:
    """Everybody trains again; the speaker has told of a first step, and of a drill."""
    number = view.epoch.number
    for each in view.epoch.members:
        view = with_trainer(view, each.member, state="training", epoch=number)
    signals = Signals(loss=2.0, grad_norm=1.0, not_finite=("loss",))
    first = Passed(step=11, epoch=number, schema_digest=SCHEMA, state_digest=digest_of(0, 11), signals=signals)
    drill = DrillFacts(heal="drill-1", attempt=1, state="verified", donor="pod-0-0", reason="r", message="m", step=11)
    return with_report(view, SPEAKER, passed=(first,), drills=True, drill=drill)


WORLDS = worlds()


def report(raw: bytes) -> None:
    """An agent says anything in its own name."""
    view = WORLDS[(raw[:1] or b"\0")[0] % len(WORLDS)]
    honest = report_of(view, SPEAKER)
    try:
        said = AgentReport.model_validate_json(raw[1:])
    except ValidationError:
        return
    if (said.job, said.pod_uid) != (honest.job, honest.pod_uid):
        return
    heard = tuple(hear(each, said, NOW) if each.report.pod_uid == said.pod_uid else each for each in view.heard)
    asyncio.run(_looks(view.model_copy(update={"heard": heard})))


async def _looks(view: JobView) -> None:
    cluster = FakeCluster()
    policy = a_policy(drill={"everySeconds": 60})
    cluster.put(CHECKPOINTHEALS, policy | {"status": {"epoch": epoch_status(view.epoch).body(), "job": JOB}})
    set_pods(cluster, *view.pods)
    listening = Listening(view.leader_since, view.heard)
    await look(Surroundings(cluster, lambda: NOW), (WHERE, JOB), listening)
    await look(Surroundings(cluster, lambda: NOW + 6), (WHERE, JOB), listening)


def asked(raw: bytes) -> None:
    """The API server asks anything."""
    try:
        request = read(raw)
    except ValidationError:
        return
    answer = review(request, SETTINGS).body["response"]
    require(isinstance(answer, dict) and answer["allowed"] is True and answer["uid"] == request.uid)
    if isinstance(answer, dict) and isinstance(patch := answer.get("patch"), str):
        jsonpatch.apply_patch(request.object, json.loads(base64.b64decode(patch)))


def _in_a_world(raw: bytes, limit: int, random: Random, as_bytes: mutations.Bytes) -> bytes:
    if random.random() < 0.05:
        return bytes([random.randrange(len(WORLDS))]) + raw[1:]
    return raw[:1] + mutations.document(raw[1:], limit - 1, random, as_bytes)


def _reports() -> list[bytes]:
    return [bytes([at]) + report_of(view, SPEAKER).model_dump_json().encode() for at, view in enumerate(WORLDS)]


def _reviews() -> list[bytes]:
    resource = {"group": "", "version": "v1", "resource": "pods"}
    request = {"uid": "u", "resource": resource, "namespace": "ml", "operation": "CREATE"}
    envelope = {"apiVersion": API_VERSION, "kind": "AdmissionReview"}
    pods = [yaml.safe_load(path.read_text()) for path in sorted(PODS.glob("*.yaml"))]
    return [json.dumps(envelope | {"request": request | {"object": pod}}).encode() for pod in pods]


AIMS: Mapping[str, Aim] = {
    "report": Aim(report, _reports, _in_a_world),
    "review": Aim(asked, _reviews, mutations.document),
}
