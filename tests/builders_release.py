"""The installed chart, as an administrator handles it with Helm."""

import json
import subprocess
import sys

from builders_cluster import CONTEXT, SYSTEM, Job, Refused, found, kubectl, one, until
from builders_jobs import docker, json_of, workers

RELEASE, CHART = "checkpointheal", "charts/checkpointheal"

FORCED = "--force-conflicts"
"""To Helm 4, which leaves alone what a test has changed by kubectl before; Helm 3 does not know it, nor ask."""
IN_A_ROW = 8
"""Pods that are made with an agent, until all webhooks are believed to be."""
LIVES = "operator.certificates.{}={}"
USUAL_LIVES = tuple(
    LIVES.format(*each) for each in (("seconds", 86_400), ("rootSeconds", 63_072_000), ("skewSeconds", 3_600))
)
SHORT_CERTIFICATES = tuple(
    LIVES.format(*each) for each in (("seconds", 60), ("rootSeconds", 63_072_000), ("skewSeconds", 2))
)
SHORT_LIVES = (*SHORT_CERTIFICATES, LIVES.format("rootSeconds", 600))
"""A root that is older than five minutes has a successor at once, which is alone two minutes later."""
A_LATER_AGENT = """\
FROM checkpointheal/agent:{tag}
USER 0
WORKDIR /opt/checkpointheal/lib
RUN sed -i 's/^SPOKEN = (1,)$/SPOKEN = (2, 1)/' python3*/site-packages/checkpointheal/wire/framing.py \
    && python3 -c 'from checkpointheal.wire.framing import SPOKEN; assert SPOKEN == (2, 1)'
WORKDIR /
USER 65532:65532
"""
"""Speaks a version of the wire that the agent of `tag` refuses, and the one that it speaks."""


def helm(*words: str, seconds: float = 300) -> str:
    """What it says; raises Refused with what it complains of."""
    command = ["helm", "--kube-context", CONTEXT, "-n", SYSTEM, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise Refused(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def build_a_later_one(tag: str, name: str) -> None:
    """Images of another build on every worker, called `name`: its agents speak one version more than those of `tag`."""
    recipe = A_LATER_AGENT.format(tag=tag)
    subprocess.run(
        ["docker", "build", "-q", "-t", f"checkpointheal/agent:{name}", "-"], input=recipe, text=True, check=True
    )
    docker("tag", f"checkpointheal/operator:{tag}", f"checkpointheal/operator:{name}")
    images = [f"checkpointheal/{each}:{name}" for each in ("agent", "operator")]
    subprocess.run([sys.executable, "tests/e2e/load.py", ",".join(workers()), *images], check=True)


def upgrade(*changes: str) -> None:
    """Values like `image.tag=next`, over those that stand; returns once every pod of ours is the new one."""
    options = [word for change in changes for word in ("--set", change)]
    options += [FORCED] if FORCED in helm("upgrade", "--help") else []
    helm("upgrade", RELEASE, CHART, "--reset-then-reuse-values", *options, "--wait", "--timeout", "240s")
    until_none_of_the_old_answers()


def until_none_of_the_old_answers() -> None:
    """Neither Helm nor a roll-out waits for the pods that go, and the API server asks a webhook of theirs meanwhile."""

    def are_gone() -> bool:
        return not any("deletionTimestamp" in pod["metadata"] for pod in found("pods", SYSTEM))

    until(are_gone, "the pods that went are gone")


def begin_with_another_root() -> None:
    """As the page of operations says for a root whose key was stolen; no pod believes the old ones any more."""
    made = (
        ("secret", f"{RELEASE}-roots"),
        ("secret", f"{RELEASE}-webhook-tls"),
        ("configmap", f"{RELEASE}-gateway-root"),
    )
    for kind, name in made:
        kubectl("delete", kind, "-n", SYSTEM, name)
    _restart(RELEASE)
    until(lambda: all(one(kind, SYSTEM, name) for kind, name in made), "the operator has made another root")
    _restart(f"{RELEASE}-webhook")


def _restart(deployment: str) -> None:
    kubectl("rollout", "restart", "-n", SYSTEM, f"deployment/{deployment}")
    kubectl("rollout", "status", "-n", SYSTEM, f"deployment/{deployment}", "--timeout=240s", seconds=250)
    until_none_of_the_old_answers()


def until_the_webhook_is_believed() -> None:
    """The operator tells the API server whom to believe; before that, pods are made without agents."""

    def is_told() -> bool:
        (webhook,) = json_of("mutatingwebhookconfiguration", RELEASE)["webhooks"]
        return bool(webhook["clientConfig"].get("caBundle"))

    until(is_told, "the API server knows the webhook's root")


def until_pods_get_agents(job: Job) -> None:
    """Whichever webhook is asked: while roots change, one may show a certificate that nobody believes yet."""
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": job.name, "uid": "its-own", "controller": True}
    pod = {"apiVersion": "v1", "kind": "Pod", **job.template()}
    pod["metadata"] |= {"name": f"{job.name}-that-is-not-kept", "ownerReferences": [owner]}
    pod["metadata"]["labels"] |= {"apps.kubernetes.io/pod-index": "0"}
    command = ["create", "-n", job.namespace, "--dry-run=server", "-o", "json", "-f", "-"]

    def all_do() -> bool:
        made = [json.loads(kubectl(*command, given=json.dumps(pod))) for _ in range(IN_A_ROW)]
        return all("initContainers" in each["spec"] for each in made)

    until(all_do, "pods are made with agents")
