"""The webhook injects every kind of pod into what the API server takes, and nobody waits for it when it is away."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.utils.quantity import parse_quantity

from builders_cluster import SYSTEM, TAG, Job, Json, found, kubectl, one, until
from builders_injection import ROOT
from builders_raw import DRY, Answer, Api, api_server
from checkpointheal_operator.core.injection_parts import AGENT

GOLDEN = Path(__file__).parents[1] / "injection"
PODS = sorted(path.stem for path in (GOLDEN / "pods").glob("*.yaml"))
PROBE = "volcano"
"""Of a name that no pod of ours has."""
WEBHOOK = "deploy/checkpointheal-webhook"


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with api_server() as api:
        yield api


@pytest.fixture(scope="module")
def room(api: Api) -> Iterator[str]:
    """A namespace in which pods can be made, but are not."""
    kubectl("create", "namespace", "e2e-golden")
    until(lambda: one("serviceaccount", "e2e-golden", "default"), "the namespace has its account")
    yield "e2e-golden"
    kubectl("delete", "namespace", "e2e-golden", "--wait=false")


@pytest.fixture(scope="module")
def roots() -> str:
    return str((one("configmap", SYSTEM, "checkpointheal-gateway-root") or {})["data"]["root.pem"])


def golden(folder: str, name: str) -> Json:
    read: Json = yaml.safe_load((GOLDEN / folder / f"{name}.yaml").read_text())
    return read


def made(api: Api, namespace: str, name: str) -> Answer:
    """What would become of the pod here."""
    pod = golden("pods", name)
    pod["metadata"].pop("namespace", None)
    answer = api.ask("POST", f"/api/v1/namespaces/{namespace}/pods{DRY}", pod)
    assert answer.is_good, f"{name}: {answer.message}"
    return answer


def here(expected: Any, roots: str) -> Any:
    """What this installation says differently from the one of the golden set."""
    said = yaml.safe_dump(expected).replace("checkpointheal/agent:dev", f"checkpointheal/agent:{TAG}")
    return _with_roots(yaml.safe_load(said), roots)


def _with_roots(part: Any, roots: str) -> Any:
    if isinstance(part, dict):
        return {key: _with_roots(value, roots) for key, value in part.items()}
    if isinstance(part, list):
        return [_with_roots(each, roots) for each in part]
    return roots if part == ROOT else part


def lacking(expected: Any, there: Any, place: str = "pod") -> list[str]:
    """What was expected and is not there. The API server may add: defaults, an account's token, tolerations."""
    if isinstance(expected, dict) and isinstance(there, dict):
        return [at for key, each in expected.items() for at in lacking(each, there.get(key), f"{place}.{key}")]
    if isinstance(expected, list) and isinstance(there, list):
        paired = [(each, _namesake(each, number, there)) for number, each in enumerate(expected)]
        return [at for number, (a, b) in enumerate(paired) for at in lacking(a, b, f"{place}[{number}]")]
    alike = expected in (there, [], {}) or (".resources." in place and _amount(expected) == _amount(there))
    return [] if alike else [f"{place}: {expected!r}, not {there!r}"]


def _amount(quantity: Any) -> Any:
    """Of a resource: the API server writes amounts in its own way."""
    return parse_quantity(quantity) if isinstance(quantity, str) else None


def _namesake(item: Any, number: int, there: list[Any]) -> Any:
    if isinstance(item, dict) and "name" in item:
        key = "mountPath" if "mountPath" in item else "name"
        return next((each for each in there if each.get(key) == item[key]), None)
    return there[number] if number < len(there) else None


def names(pod: Json, containers: str) -> list[str]:
    return [each["name"] for each in pod["spec"].get(containers, [])]


@pytest.mark.parametrize("name", PODS)
def test_the_api_server_takes_what_injection_makes_of_it(name, api, room, roots):
    answer, expected = made(api, room, name), golden("expected", name)
    if "refused" in expected:
        assert AGENT not in names(answer.body, "initContainers")
        assert lacking(golden("pods", name)["spec"], answer.body["spec"]) == []
        return
    wanted = here(expected["pod"], roots)
    wanted["metadata"].pop("namespace", None)
    assert lacking(wanted, answer.body) == []
    for containers in ("initContainers", "containers"):
        assert names(answer.body, containers) == names(wanted, containers)


def test_the_agent_gets_no_token_of_the_pods_account_though_its_trainer_does(api, room):
    """No pod of the golden set says `automountServiceAccountToken: false`."""
    pod = made(api, room, PROBE).body
    agent, trainer = pod["spec"]["initContainers"][0], pod["spec"]["containers"][0]
    assert agent["name"] == AGENT
    accounts = [
        [each["name"] for each in which["volumeMounts"] if each["name"].startswith("kube-api-access-")]
        for which in (agent, trainer)
    ]
    assert [len(each) for each in accounts] == [0, 1]


@pytest.mark.parametrize("name", PODS)
def test_whoever_makes_a_pod_is_told_why_it_is_not_injected_or_what_to_mind(name, api, room):
    expected, warnings = golden("expected", name), made(api, room, name).warnings
    refused = expected.get("refused", {})
    if refused.get("reason") in ("NotOptedIn", "MirrorPod"):
        assert warnings == []
        return
    notes = [
        f"checkpointheal: {each['reason']}: {each['message']}" for each in expected.get("report", {}).get("notes", [])
    ]
    no = [f"checkpointheal: not injected: {refused['reason']}: {refused['message']}"] if refused else []
    assert sorted(each for each in warnings if "checkpointheal" in each) == sorted(no + notes)


def is_injected(pod: Json | None) -> bool:
    return pod is not None and AGENT in names(pod, "initContainers")


@pytest.fixture
def no_webhook(api: Api, namespace: str) -> Iterator[None]:
    """It is away, and comes back at the end."""
    kubectl("scale", "-n", SYSTEM, WEBHOOK, "--replicas=0")
    until(lambda: not found("pods", SYSTEM, "app.kubernetes.io/component=webhook"), "the webhook is away")
    assert not is_injected(made(api, namespace, PROBE).body)
    yield
    bring_back(api, namespace)


def bring_back(api: Api, namespace: str) -> None:
    kubectl("scale", "-n", SYSTEM, WEBHOOK, "--replicas=2")
    kubectl("rollout", "status", "-n", SYSTEM, WEBHOOK, "--timeout=120s", seconds=150)
    until(lambda: is_injected(made(api, namespace, PROBE).body), "the webhook is back")


def test_without_the_webhook_pods_are_made_and_told_of_and_with_it_they_are_healed(namespace, same, api, request):
    job = Job(namespace).start()
    job.until_step(8)
    request.getfixturevalue("no_webhook")
    before = job.uid(1)
    job.delete_pods(1)
    until(lambda: job.uid(1) not in ("", before), "a new pod is made", seen=job.look)
    slipped = deepcopy(one("pod", namespace, "trainer-1"))
    assert not is_injected(slipped)
    remedy = "delete the pod when it suits, and the next one gets an agent"
    told = until(lambda: events_about(job, "trainer-1", "NotInjected"), "an Event tells", seen=job.look)
    assert remedy in told[0]["message"]
    until(lambda: job.condition("Degraded")["reason"] == "NotInjected", "a condition tells", seen=job.look)
    assert job.condition("Protected")["status"] == "False"
    assert remedy in job.condition("Protected")["message"]
    bring_back(api, namespace)
    job.delete_pods(1)
    until(lambda: ("trainer-1", "Peer", "True") in job.verdicts(), "it is healed", seen=job.look)
    assert is_injected(one("pod", namespace, "trainer-1"))
    same(job)
    assert job.condition("Protected")["status"] == "True"


def events_about(job: Job, pod: str, reason: str) -> list[Json]:
    told = found("events", job.namespace)
    return [each for each in told if (each["involvedObject"]["name"], each["reason"]) == (pod, reason)]
