"""The manifests that people begin with: each is injected, healed as it says, and its ranks find each other."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from builders_injection import settings
from checkpointheal.run.command import parser
from checkpointheal_operator.api.definitions import definitions
from checkpointheal_operator.api.policy import matches
from checkpointheal_operator.api.spec import Selector
from checkpointheal_operator.core.annotations import LOCAL_RANKS
from checkpointheal_operator.core.injected import Injection
from checkpointheal_operator.webhook.render import render
from structural import admit

EXAMPLES = Path(__file__).parents[2] / "examples"
POLICY_SCHEMA = definitions()[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
WORKLOADS = {
    "statefulset-ddp.yaml": ("StatefulSet", "replicas", "metadata.labels['apps.kubernetes.io/pod-index']"),
    "statefulset-local-ranks.yaml": ("StatefulSet", "replicas", None),
    "indexed-job.yaml": ("Job", "completions", "metadata.annotations['batch.kubernetes.io/job-completion-index']"),
}
"""Kind, size, and where the rank of its only trainer is read; None: `run` gives each of several its own."""
each_example = pytest.mark.parametrize("name", WORKLOADS)


def manifests(name: str) -> dict[str, Any]:
    """One of each kind."""
    found = list(yaml.safe_load_all((EXAMPLES / name).read_text()))
    assert len({each["kind"] for each in found}) == len(found)
    return {each["kind"]: each for each in found}


def workload(name: str) -> Any:
    return manifests(name)[WORKLOADS[name][0]]


def environment(name: str) -> dict[str, Any]:
    (container,) = workload(name)["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def local_ranks(name: str) -> int:
    return int(workload(name)["spec"]["template"]["metadata"]["annotations"].get(LOCAL_RANKS, "1"))


def test_every_manifest_is_looked_at_here():
    assert {path.name for path in EXAMPLES.glob("*.yaml")} == WORKLOADS.keys()


@each_example
def test_it_is_injected_without_a_word_of_warning(name):
    (said,) = render(list(manifests(name).values()), settings()).said
    assert isinstance(said.answer, Injection), said.answer
    assert said.answer.report.notes == ()
    assert said.answer.report.job == workload(name)["metadata"]["name"]
    assert said.answer.report.user == 65532


@each_example
def test_its_policy_selects_its_pods_and_is_admitted(name):
    policy = admit(POLICY_SCHEMA, manifests(name)["CheckpointHeal"])
    labels = workload(name)["spec"]["template"]["metadata"]["labels"]
    assert matches(Selector.model_validate(policy["spec"]["selector"]), labels)
    assert manifests(name)["Service"]["spec"]["selector"].items() <= labels.items()


@each_example
def test_its_ranks_are_the_places_that_its_controller_gives_and_find_the_first(name):
    _, size, place = WORKLOADS[name]
    told, service = environment(name), manifests(name)["Service"]
    job, spec = workload(name)["metadata"]["name"], workload(name)["spec"]
    assert told.get("RANK") == (place and {"fieldRef": {"fieldPath": place}})
    assert told["WORLD_SIZE"] == str(spec[size] * local_ranks(name))
    assert told["MASTER_ADDR"] == f"{job}-0.{service['metadata']['name']}"
    assert {told["MASTER_PORT"]} == {str(each["port"]) for each in service["spec"]["ports"]}
    assert service["spec"]["clusterIP"] == "None"
    assert spec.get("serviceName", spec["template"]["spec"].get("subdomain")) == service["metadata"]["name"]


@each_example
def test_its_trainer_is_started_again_in_place(name):
    (container,) = workload(name)["spec"]["template"]["spec"]["containers"]
    first, second, *rest = container["command"]
    assert (first, second) == ("checkpointheal", "run")
    asked = parser().parse_args(rest)
    assert asked.command[:3] == ["--", "python", "/app/train.py"]
    assert (asked.nproc_per_node or 1) == local_ranks(name)


@each_example
def test_all_its_members_are_there_at_once(name):
    spec = workload(name)["spec"]
    assert spec.get("podManagementPolicy") == "Parallel" or spec["parallelism"] == spec["completions"]
