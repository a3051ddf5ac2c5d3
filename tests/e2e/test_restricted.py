"""Where pods may do little and talk to few, injected pods run and heal."""

import subprocess
from pathlib import Path

import pytest
import yaml

from builders_cluster import IMAGE, SYSTEM, Job, Refused, apply, healed_by, kubectl, leader, one, until
from builders_jobs import docker, workers
from builders_release import upgrade

HERE = Path(__file__).parent
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
POD = {
    "automountServiceAccountToken": False,
    "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
}
CONTAINER = {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}


def label(namespace: str, **labels: str) -> None:
    kubectl("label", "namespace", namespace, *(f"{key}={value}" for key, value in labels.items()))


def test_in_a_restricted_namespace_pods_are_injected_and_healed(namespace, same):
    label(namespace, **RESTRICTED)
    with pytest.raises(Refused, match="violates PodSecurity"):
        kubectl("run", "-n", namespace, "careless", "--image=any/image:1")
    job = Job(namespace, pod=POD, container=CONTAINER).start()
    job.until_step(6)
    job.delete_pods(1)
    healed_by(job, 1, "Peer")
    same(job)


@pytest.fixture(scope="module")
def enforcer():
    """Something that does what NetworkPolicies say: kind's own network may not."""
    image = subprocess.run([HERE / "enforcer" / "make"], capture_output=True, text=True, check=True).stdout.strip()
    nodes = workers()
    loading = ["python3", HERE / "load.py", ",".join(nodes), image]
    subprocess.run(loading, check=True, timeout=300)
    manifest = (HERE / "enforcer" / "daemonset.yaml").read_text().replace("ENFORCER_IMAGE", image)
    kubectl("label", "node", *nodes, "e2e/enforced=true", "--overwrite")
    kubectl("apply", "-f", "-", given=manifest)
    kubectl("rollout", "status", "-n", "kube-system", "ds/enforcer", "--timeout=120s", seconds=150)
    upgrade("networkPolicy.enabled=true")
    yield
    upgrade("networkPolicy.enabled=false")
    kubectl("delete", "--wait", "--ignore-not-found", "-f", "-", given=manifest)
    for node in nodes:
        docker("exec", node, "sh", "-c", FORGET)


FORGET = "iptables-save | grep -v KUBE-ROUTER | grep -v KUBE-POD-FW | grep -v KUBE-NWPLCY | iptables-restore"
"""What an enforcer leaves behind when it goes."""

CALL = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=4).close()"


def calls(who: tuple[str, str, str], address: str, port: int) -> bool:
    """Whether a container (namespace, what, name of the container) reaches it."""
    namespace, what, container = who
    try:
        kubectl("exec", "-n", namespace, what, "-c", container, "--", "python3", "-c", CALL, address, str(port))
    except Refused:
        return False
    return True


def leaders_address() -> str:
    """Agents' own port is open on both operators, the one for followers on the leader's alone."""
    address: str = until(lambda: (one("pod", SYSTEM, leader()) or {}).get("status", {}).get("podIP"), "a leader")
    return address


def closed(namespace: str) -> None:
    """As docs/security.md shows it: nobody comes in or out but who must."""
    page = (HERE.parents[1] / "docs" / "security.md").read_text()
    policies = list(yaml.safe_load_all(page.split("```yaml\n")[1].split("```")[0]))
    apply(namespace, *policies)


def caller(namespace: str) -> tuple[str, str, str]:
    """A pod of the job's labels that only waits."""
    container = {"name": "caller", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"]}
    metadata = {"name": "caller", "labels": {"app": "trainer"}}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    apply(namespace, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    kubectl("wait", "-n", namespace, "pod/caller", "--for=condition=Ready", "--timeout=60s")
    return (namespace, "caller", "caller")


def test_connections_that_no_policy_allows_fail_and_healing_needs_none_of_them(namespace, stranger, same, request):
    here, there = caller(namespace), caller(stranger)
    webhook, operator = (SYSTEM, "deploy/checkpointheal-webhook", "webhook"), leaders_address()
    assert calls(here, operator, 8444)  # nobody forbids it yet
    assert calls(webhook, operator, 8443)
    request.getfixturevalue("enforcer")
    closed(namespace)
    job = Job(namespace).start()
    job.until_step(6)
    operator, peer = leaders_address(), address_of(job, 0)
    assert calls(here, operator, 8443)
    assert not calls(here, operator, 8444)
    assert not calls(webhook, operator, 8443)
    assert calls(here, peer, 7460)
    assert calls(there, operator, 8443)
    assert not calls(there, peer, 7460)
    job.delete_pods(1)
    healed_by(job, 1, "Peer")
    same(job)


def address_of(job: Job, rank: int) -> str:
    return str((one("pod", job.namespace, job.pod_of(rank)) or {})["status"]["podIP"])


@pytest.fixture
def stranger(namespace):
    """A namespace of somebody else's."""
    name = f"{namespace}-other"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")
