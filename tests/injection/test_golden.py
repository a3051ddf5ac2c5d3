"""Pods as controllers make them, and what injection makes of each.

Every file of `pods` begins with the shape that it was modelled on. Its namesake in `expected` holds the report and the
pod as it is afterwards. `REWRITE_INJECTION=1 pytest tests/injection` writes what is answered: read the difference.
"""

import copy
import itertools
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client.models.v1_pod import V1Pod
from pydantic import ValidationError

from builders_injection import agent_of, patched, settings
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.trainer.settings import TrainerSettings
from checkpointheal_operator.core.identity import Placed, place
from checkpointheal_operator.core.injected import Injection, NotInjected
from checkpointheal_operator.core.injection import inject
from checkpointheal_operator.core.injection_parts import ACCOUNT_FOLDER, AGENT, ARENA, SCRATCH, TOKEN, VOLUMES
from checkpointheal_operator.core.pod_manifest import Metadata

REWRITE = bool(os.environ.get("REWRITE_INJECTION"))
FOLDER = Path(__file__).parent
PODS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((FOLDER / "pods").glob("*.yaml"))}
ANSWERS = {name: inject(pod, settings()) for name, pod in PODS.items()}
INJECTED = {name: patched(PODS[name], answer) for name, answer in ANSWERS.items() if isinstance(answer, Injection)}


def told(name: str) -> dict[str, Any]:
    """The answer as the file says it; a pod that is left alone is not written again."""
    answer = ANSWERS[name]
    if isinstance(answer, NotInjected):
        return {"refused": answer.model_dump(mode="json"), "warnings": list(answer.warnings)}
    return {"report": answer.report.model_dump(mode="json"), "pod": INJECTED[name]}


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_becomes_what_is_written(name: str) -> None:
    path = FOLDER / "expected" / f"{name}.yaml"
    if REWRITE:
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(told(name), sort_keys=False, width=120))
    assert yaml.safe_load(path.read_text()) == told(name)


def test_every_expectation_has_its_pod() -> None:
    assert {path.stem for path in (FOLDER / "expected").glob("*.yaml")} == set(PODS)


def test_the_set_is_large_and_has_both_answers() -> None:
    assert len(PODS) >= 40
    assert 30 <= len(INJECTED) < len(PODS)


@pytest.mark.parametrize("name", INJECTED)
def test_injecting_twice_is_injecting_once(name: str) -> None:
    again = inject(INJECTED[name], settings())
    assert isinstance(again, Injection)
    assert (again.patch, again.report.reason) == ((), "AlreadyInjected")
    before = ANSWERS[name]
    assert isinstance(before, Injection)
    unchanged = {"reason", "message"}
    assert again.report.model_dump(exclude=unchanged) == before.report.model_dump(exclude=unchanged)


@pytest.mark.parametrize("name", PODS)
def test_the_manifest_that_was_read_is_not_written_to(name: str) -> None:
    pod = copy.deepcopy(PODS[name])
    inject(pod, settings())
    assert pod == PODS[name]


@pytest.mark.parametrize("name", INJECTED)
def test_what_was_there_is_there_still(name: str) -> None:
    """Taking away what is ours gives the pod as it came."""
    pod = copy.deepcopy(INJECTED[name])
    spec, annotations = pod["spec"], pod["metadata"]["annotations"]
    spec["initContainers"] = [each for each in spec["initContainers"] if each["name"] != AGENT]
    spec["volumes"] = [each for each in spec["volumes"] if each["name"] not in VOLUMES]
    del annotations["checkpointheal.dev/injected"]
    for container in spec["containers"]:
        container["env"] = [e for e in container.get("env", []) if not e["name"].startswith("CHECKPOINTHEAL_")]
        container["volumeMounts"] = [m for m in container.get("volumeMounts", []) if m["name"] != ARENA]
    assert without_empty(pod) == without_empty(PODS[name])


def without_empty(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: without_empty(value) for key, value in part.items() if value not in ([], {})}
    return [without_empty(each) for each in part] if isinstance(part, list) else part


@pytest.mark.parametrize("name", INJECTED)
def test_names_are_unique_and_mounts_refer_to_volumes(name: str) -> None:
    pod = INJECTED[name]
    spec, volumes = pod["spec"], [volume["name"] for volume in pod["spec"]["volumes"]]
    assert is_unique(volumes)
    assert is_unique([container["name"] for container in containers(pod)])
    for container in [agent_of(pod), *spec["containers"]]:
        mounts = container.get("volumeMounts", [])
        assert is_unique([mount["mountPath"] for mount in mounts])
        assert is_unique([variable["name"] for variable in container.get("env", [])])
        assert {mount["name"] for mount in mounts} <= set(volumes)


@pytest.mark.parametrize("name", INJECTED)
def test_every_field_is_one_that_kubernetes_knows(name: str) -> None:
    V1Pod.model_validate(INJECTED[name])


def test_kubernetes_models_know_every_field_of_ours() -> None:
    """The check above sees a misspelt field, however deep."""
    pod = copy.deepcopy(INJECTED["statefulset"])
    agent_of(pod)["securityContext"]["runAsNonroot"] = True
    with pytest.raises(ValidationError, match="runAsNonroot"):
        V1Pod.model_validate(pod)


@pytest.mark.parametrize("name", INJECTED)
def test_no_two_containers_of_a_pod_listen_on_one_port(name: str) -> None:
    ports = [port["containerPort"] for container in containers(INJECTED[name]) for port in container.get("ports", [])]
    assert is_unique(ports)


@pytest.mark.parametrize("name", INJECTED)
def test_the_agent_comes_first_and_nothing_waits_for_it(name: str) -> None:
    agent = INJECTED[name]["spec"]["initContainers"][0]
    assert (agent["name"], agent["restartPolicy"]) == (AGENT, "Always")
    assert not {"readinessProbe", "startupProbe", "livenessProbe", "lifecycle"} & set(agent)


@pytest.mark.parametrize("name", INJECTED)
def test_the_agent_is_clean_under_the_restricted_profile(name: str) -> None:
    security = agent_of(INJECTED[name])["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not any("hostPort" in port for port in agent_of(INJECTED[name]).get("ports", []))


@pytest.mark.parametrize("name", INJECTED)
def test_the_pages_of_the_arena_are_the_agents(name: str) -> None:
    resources = agent_of(INJECTED[name])["resources"]
    assert resources["limits"]["memory"] == resources["requests"]["memory"]


@pytest.mark.parametrize("name", INJECTED)
def test_only_the_agent_sees_the_token_and_only_the_trainer_the_arena_besides(name: str) -> None:
    answer = ANSWERS[name]
    assert isinstance(answer, Injection)
    seen = {volume: {c["name"] for c in containers(INJECTED[name]) if sees(c, volume)} for volume in VOLUMES}
    assert seen == {ARENA: {AGENT, answer.report.trainer}, TOKEN: {AGENT}, SCRATCH: {AGENT}}


def with_the_accounts_token(pod: dict[str, Any]) -> dict[str, Any]:
    """As the API server's plugin for accounts leaves it: each container that mounts nothing there gets a mount."""
    there = copy.deepcopy(pod)
    mount = {"name": "kube-api-access-abcde", "readOnly": True, "mountPath": ACCOUNT_FOLDER}
    for each in containers(there):
        if all(known["mountPath"] != ACCOUNT_FOLDER for known in each.get("volumeMounts", [])):
            each.setdefault("volumeMounts", []).append(mount)
    return there


@pytest.mark.parametrize("name", INJECTED)
def test_the_agent_gets_no_token_that_the_api_takes_though_the_api_server_gives_each_container_one(name: str) -> None:
    """It does so before the webhook, and once more after it, for what the webhook has added."""
    answer = inject(with_the_accounts_token(PODS[name]), settings())
    assert isinstance(answer, Injection)
    pod = with_the_accounts_token(patched(with_the_accounts_token(PODS[name]), answer))
    assert {each["name"] for each in agent_of(pod)["volumeMounts"]} == {ARENA, TOKEN, SCRATCH}
    others = [each for each in containers(pod) if each["name"] != AGENT]
    assert all(sees(each, "kube-api-access-abcde") for each in others)


@pytest.mark.parametrize("name", INJECTED)
def test_the_trainer_library_reads_what_injection_tells_it(name: str) -> None:
    answer = ANSWERS[name]
    assert isinstance(answer, Injection)
    trainer = next(c for c in INJECTED[name]["spec"]["containers"] if c["name"] == answer.report.trainer)
    found = place(Metadata.model_validate(PODS[name]["metadata"]))
    assert isinstance(found, Placed)
    environment = {each["name"]: each.get("value", "") for each in trainer["env"]}
    for local_rank, member in enumerate(found.seats.members):
        told = TrainerSettings.from_environment(environment | {"LOCAL_RANK": str(local_rank)}, private_limit=0)
        assert (told.member, told.job) == (member, answer.report.job)
        assert any(told.arena.is_relative_to(mount["mountPath"]) for mount in trainer["volumeMounts"])


@pytest.mark.parametrize("name", INJECTED)
def test_the_agents_of_a_pods_seats_read_what_injection_tells_them(name: str) -> None:
    """Each has a port of its own among those that the container names, and its trainer's arena."""
    agent, fields = agent_of(INJECTED[name]), {"POD": "p", "POD_UID": "u", "HOST": "10.0.0.1"}
    environment = {each["name"]: each.get("value", "") for each in agent["env"]}
    told = AgentSettings.seats(environment | {f"CHECKPOINTHEAL_{key}": value for key, value in fields.items()})
    found = place(Metadata.model_validate(PODS[name]["metadata"]))
    assert isinstance(found, Placed)
    assert tuple(each.member for each in told) == found.seats.members
    assert [each.port for each in told if each.port] == [port["containerPort"] for port in agent.get("ports", [])]
    assert is_unique([str(each.arena) for each in told])


@pytest.mark.parametrize("name", INJECTED)
def test_every_removal_by_another_webhook_is_mended(name: str) -> None:
    """Whatever is ours may be dropped by a webhook with old types; the next invocation puts it back."""
    for lost in damages(INJECTED[name]):
        answer = inject(lost, settings())
        assert isinstance(answer, Injection), answer
        assert answer.report.reason == "InjectionMended"
        assert without_order(patched(lost, answer)) == without_order(INJECTED[name])


@pytest.mark.parametrize("name", [each for each in INJECTED if each.startswith("leaderworkerset")])
def test_a_pod_that_is_marked_after_it_was_injected_gets_the_place_of_its_marks(name: str) -> None:
    """A LeaderWorkerSet's webhook says who a pod is; where ours was asked first, it saw a StatefulSet's pod only."""
    early, index = copy.deepcopy(PODS[name]), "leaderworkerset.sigs.k8s.io/worker-index"
    early["metadata"]["labels"] |= {"apps.kubernetes.io/pod-index": "7"}
    mark = early["metadata"]["labels"].pop(index)
    first = inject(early, settings())
    assert isinstance(first, Injection)
    late = patched(early, first)
    late["metadata"]["labels"] |= {index: mark, **PODS[name]["metadata"]["labels"]}
    second = inject(late, settings())
    assert isinstance(second, Injection)
    assert second.report.reason == "InjectionMended"
    assert without_order(patched(late, second))["spec"] == without_order(INJECTED[name])["spec"]


def damages(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """The injected pod without its restart policy, its volumes, its trainer's variables, its agent."""
    lost = [copy.deepcopy(pod) for _ in range(4)]
    del agent_of(lost[0])["restartPolicy"]
    lost[1]["spec"]["volumes"] = [v for v in lost[1]["spec"]["volumes"] if v["name"] not in VOLUMES]
    for container in lost[2]["spec"]["containers"]:
        container["env"] = [e for e in container.get("env", []) if not e["name"].startswith("CHECKPOINTHEAL_")]
    lost[3]["spec"]["initContainers"].remove(agent_of(lost[3]))
    return lost


def without_order(pod: dict[str, Any]) -> dict[str, Any]:
    """Volumes and variables by name: those that are put back come last."""
    ordered: dict[str, Any] = without_empty(copy.deepcopy(pod))
    ordered["spec"]["volumes"].sort(key=lambda volume: volume["name"])
    for container in containers(ordered):
        container.get("env", []).sort(key=lambda variable: variable["name"])
    return ordered


def sees(container: dict[str, Any], volume: str) -> bool:
    return any(mount["name"] == volume for mount in container.get("volumeMounts", []))


def is_unique(names: list[Any]) -> bool:
    return not any(a == b for a, b in itertools.combinations(names, 2))
