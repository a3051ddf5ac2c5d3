"""The first minutes, word for word as README and examples say them."""

import subprocess
from pathlib import Path

from builders_cluster import CONTEXT, SYSTEM, Json, condition, found, kubectl, one, until

EXAMPLES = Path(__file__).parents[2] / "examples"
COLUMNS = ["NAME", "RECIPIENT", "DONOR", "RUNG", "STEP", "BYTES", "DURATION", "HEALED", "AGE"]


def step(namespace: str, pod: str) -> int:
    """The last step that it told of."""
    said = kubectl("logs", "-n", namespace, pod, "-c", "trainer").splitlines()
    return max((int(each.split()[1].rstrip(":")) for each in said if each.startswith("step ")), default=0)


def look(namespace: str) -> str:
    return kubectl("get", "pods,checkpointheals,heals,events", "-n", namespace)


def healed(namespace: str) -> list[Json]:
    return [each for each in found("heals", namespace) if condition(each, "Healed")["status"] == "True"]


def test_the_stateful_set_of_the_quick_start_heals_a_deleted_pod(namespace):
    kubectl("apply", "-n", namespace, "-f", str(EXAMPLES / "statefulset-ddp.yaml"))
    until(lambda: step(namespace, "trainer-0") >= 10, "it trains", seen=lambda: look(namespace))
    kubectl("delete", "pod", "-n", namespace, "trainer-1")
    until(lambda: healed(namespace), "a heal", seen=lambda: look(namespace))
    head, row = (each.split() for each in kubectl("get", "heals", "-n", namespace).splitlines())
    assert head == COLUMNS
    shown = dict(zip(COLUMNS, row, strict=True))
    assert (shown["RECIPIENT"], shown["RUNG"], shown["HEALED"]) == ("trainer-1", "Peer", "True")
    assert shown["DONOR"] in ("trainer-0", "trainer-2")
    assert int(shown["STEP"]) >= 10
    assert int(shown["BYTES"]) > 0
    (heal,) = healed(namespace)
    assert condition(heal, "Verified")["status"] == "True"
    until(lambda: step(namespace, "trainer-0") > int(shown["STEP"]), "it goes on", seen=lambda: look(namespace))
    assert one("pod", namespace, "trainer-0")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_the_indexed_job_of_the_examples_heals_a_deleted_pod(namespace):
    kubectl("apply", "-n", namespace, "-f", str(EXAMPLES / "indexed-job.yaml"))
    of = "batch.kubernetes.io/job-name=training,batch.kubernetes.io/job-completion-index="
    until(lambda: rank(namespace, of, 0), "the first pod is there")
    until(lambda: step(namespace, rank(namespace, of, 0)) >= 10, "it trains", seen=lambda: look(namespace))
    gone = rank(namespace, of, 1)
    kubectl("delete", "pod", "-n", namespace, "-l", f"{of}1")
    until(lambda: healed(namespace), "a heal", seen=lambda: look(namespace))
    (heal,) = healed(namespace)
    recipient, status = heal["spec"]["recipient"], heal["status"]
    assert (recipient["member"], status["rung"]) == ("1/0", "Peer")
    assert recipient["pod"] not in ("", gone)
    until(lambda: step(namespace, rank(namespace, of, 0)) > status["step"], "it goes on", seen=lambda: look(namespace))


def rank(namespace: str, of: str, index: int) -> str:
    """The pod that holds this index now."""
    pods = [each for each in found("pods", namespace, f"{of}{index}") if "deletionTimestamp" not in each["metadata"]]
    return str(pods[-1]["metadata"]["name"]) if pods else ""


def test_helm_test_passes():
    command = ["helm", "test", "checkpointheal", "-n", SYSTEM, "--kube-context", CONTEXT, "--timeout", "120s"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Succeeded" in done.stdout
