"""A real API server takes what is good and refuses what is not, by the name of the field. Every limit is tried."""

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from builders_cluster import Json, Refused, kubectl, one
from builders_raw import DRY, Answer, Api, api_server
from builders_schema import Trial, at_the_edge, beyond, changed, named, other, parts, sample
from checkpointheal.contract.base import MOST
from checkpointheal_operator.api.definitions import definitions
from checkpointheal_operator.core.policy import MOST_MEMBERS
from structural import CAP_AND_FLOOR, COMPARED, MIN_AND_ALL, NAMED, deadline_rules
from structural import MOST as MOST_OF_ALL

CONFLICT, INVALID = 409, 422
SCHEMAS = {
    each["spec"]["names"]["kind"]: each["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    for each in definitions()
}
PLURALS = {each["spec"]["names"]["kind"]: each["spec"]["names"]["plural"] for each in definitions()}
each_kind = pytest.mark.parametrize("kind", SCHEMAS)
each_part = pytest.mark.parametrize(("kind", "part"), [(kind, part) for kind in SCHEMAS for part in ("spec", "status")])


def without(name: str) -> Callable[[Json, Json], Json]:
    return lambda _schema, old: {key: each for key, each in old.items() if key != name}


def with_less(rule: str) -> Callable[[Json, Json], Json]:
    """The first field that it names is not to be less than the other one; in a good object both are 2."""
    first = re.findall(r"self\.(\w+)", rule)[0]
    return lambda _schema, old: old | {first: 1}


BROKEN: dict[str, Callable[[Json, Any], Any]] = {
    "size(self.matchLabels) + size(self.matchExpressions) > 0": lambda _schema, _old: {},
    NAMED: lambda _schema, old: old | {"matchLabels": {"no name": "a"}},
    MIN_AND_ALL: lambda _schema, old: old | {"replicas": 1, "minReplicas": 2},
    MOST_OF_ALL: lambda _schema, old: old | {"replicas": MOST_MEMBERS, "ranks": 2},
    COMPARED: lambda _schema, old: old | {"operator": "NotIn", "values": []},
    "self == oldSelf": other,
    "self == oldSelf || self.attempt > oldSelf.attempt": lambda _schema, old: old | {"message": "another"},
    "has(self.crashStep) == has(oldSelf.crashStep)": without("crashStep"),
    "!has(oldSelf.assignment) || has(self.assignment)": without("assignment"),
    "self.number >= oldSelf.number": lambda _schema, old: old | {"number": old["number"] - 1},
    **{rule: with_less(rule) for rule in (CAP_AND_FLOOR, *dict(deadline_rules()))},
}
"""How each rule is broken. One that is not here fails: no rule goes untried."""


BESIDE: dict[str, dict[str, int]] = {
    "spec.layout.replicas": {"ranks": 1, "minReplicas": 1},
    "spec.layout.ranks": {"replicas": 1, "minReplicas": 1},
    "spec.layout.minReplicas": {"replicas": MOST_MEMBERS, "ranks": 1},
    "spec.deadlines.agentSilenceSeconds": {"reportSeconds": 86_400, "transferSeconds": 86_400},
    "spec.deadlines.reportSeconds": {"agentSilenceSeconds": 1},
    "spec.deadlines.transferSeconds": {"agentSilenceSeconds": 1},
    "spec.deadlines.stoppedTrainerSeconds": {"restoreBudgetSeconds": 86_400},
    "spec.deadlines.restoreBudgetSeconds": {"stoppedTrainerSeconds": 1},
    "spec.donors.bytesPerSecond": {"floorBytesPerSecond": 1},
    "spec.donors.floorBytesPerSecond": {"bytesPerSecond": MOST},
}
"""What has to stand beside a field at its edge, because a rule holds the two together."""


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with api_server() as api:
        yield api


def manifest(kind: str, spec: Any, name: str = "good") -> Json:
    body = {"apiVersion": "checkpointheal.dev/v1alpha1", "kind": kind, "metadata": {"name": name}}
    return body | {"spec": spec}


def where(namespace: str, kind: str, name: str = "", part: str = "spec") -> str:
    path = f"/apis/checkpointheal.dev/v1alpha1/namespaces/{namespace}/{PLURALS[kind]}"
    return path + (f"/{name}" if name else "") + ("/status" if part == "status" else "")


def good(kind: str, part: str = "spec") -> Any:
    """With every field. Nobody is selected by it: nothing shall happen."""
    return sample(SCHEMAS[kind][part])


def put(api: Api, path: str, changes: Json, options: str = DRY) -> Answer:
    """These parts instead of what stands there; again where the operator has written meanwhile."""
    while (answer := api.ask("PUT", path + options, api.ask("GET", path).body | changes)).status == CONFLICT:
        pass
    return answer


def stored(api: Api, namespace: str, kind: str) -> None:
    """Such an object is there."""
    made = api.ask("POST", where(namespace, kind), manifest(kind, good(kind)))
    assert made.is_good, made.message


def tried(api: Api, namespace: str, kind: str, part: str) -> Callable[[Any], Answer]:
    """What the server says of a value of this part, without keeping it."""
    if part == "spec":
        return lambda value: api.ask("POST", where(namespace, kind) + DRY, manifest(kind, value, "another"))
    stored(api, namespace, kind)
    return lambda value: put(api, where(namespace, kind, "good", part), {part: value})


@each_part
def test_what_lies_beyond_a_limit_is_refused_by_its_fields_name(namespace, api, kind, part):
    ask = tried(api, namespace, kind, part)
    trials = list(beyond(SCHEMAS[kind][part], good(kind, part), part))
    found = [(each, ask(each.value)) for each in trials]
    assert len(trials) > 50
    assert [told(*each) for each in found if each[1].status != INVALID or each[0].place not in each[1].complaints] == []


@each_part
def test_what_lies_just_within_a_limit_is_taken(namespace, api, kind, part):
    ask = tried(api, namespace, kind, part)
    found = [(each, ask(with_what_belongs(each))) for each in at_the_edge(SCHEMAS[kind][part], good(kind, part), part)]
    assert found
    assert [told(*each) for each in found if not each[1].is_good] == []


def with_what_belongs(trial: Trial) -> Any:
    beside = BESIDE.get(trial.place)
    if beside is None:
        return trial.value
    name = trial.place.split(".")[1]
    return trial.value | {name: trial.value[name] | beside}


def told(trial: Trial, answer: Answer) -> str:
    return f"{trial.place} ({trial.limit}): {answer.status} {answer.message} {sorted(answer.complaints)}"


@each_kind
def test_every_rule_refuses_what_breaks_it_by_its_fields_name_and_in_its_own_words(namespace, api, kind):
    stored(api, namespace, kind)
    path_of_status = where(namespace, kind, "good", "status")
    assert put(api, path_of_status, {"status": good(kind, "status")}, options="").is_good
    rules = 0
    for part in ("spec", "status"):
        for path, schema, value in parts(SCHEMAS[kind][part], good(kind, part)):
            for rule in schema.get("x-kubernetes-validations", ()):
                rules += 1
                broken = changed(good(kind, part), path, BROKEN[rule["rule"]](schema, value))
                answer = put(api, where(namespace, kind, "good", part), {part: broken})
                assert answer.status == INVALID, f"{rule}: {answer}"
                assert rule["message"] in answer.complaints.get(named((part, *path)), ""), f"{rule}: {answer}"
    assert rules


def test_a_higher_attempt_may_assign_another_donor(namespace, api):
    stored(api, namespace, "Heal")
    spec = good("Heal")
    spec["assignment"] |= {"attempt": spec["assignment"]["attempt"] + 1, "message": "another"}
    assert put(api, where(namespace, "Heal", "good"), {"spec": spec}).is_good


def test_a_heal_may_get_its_first_assignment_later(namespace, api):
    bare = {key: each for key, each in good("Heal").items() if key != "assignment"}
    made = api.ask("POST", where(namespace, "Heal"), manifest("Heal", bare))
    assert made.is_good, made.message
    assert put(api, where(namespace, "Heal", "good"), {"spec": good("Heal")}).is_good


def test_a_selector_is_enough_and_the_rest_is_as_the_models_say(namespace, api):
    least = {"selector": {"matchLabels": {"app": "trainer"}}}
    answer = api.ask("POST", where(namespace, "CheckpointHeal") + DRY, manifest("CheckpointHeal", least))
    assert answer.is_good, answer.message
    spec = SCHEMAS["CheckpointHeal"]["spec"]["properties"]
    selector = default(spec["selector"]) | least["selector"]
    assert answer.body["spec"] == {name: default(of) for name, of in spec.items()} | {"selector": selector}
    assert [answer.body["spec"][name] for name in ("channel", "historyLimit", "fallback")] == ["TLS", 50, "Checkpoint"]


def default(of):
    """What a field has that nobody named, as the definition says it."""
    if "properties" not in of:
        return of["default"]
    return {name: each["default"] for name, each in of["properties"].items() if "default" in each}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"selector": {}}, "spec.selector: Invalid value: selector must name at least one label"),
        ({}, "spec.selector: Required value"),
        ({"selector": {"matchLabels": {"app": "a"}}, "layout": {"replicas": 0}}, "spec.layout.replicas: Invalid value"),
        ({"selector": {"matchLabels": {"app": "a"}}, "channel": "NCCL"}, 'spec.channel: Unsupported value: "NCCL"'),
        ({"selector": {"matchLabels": {"app": "a"}}, "donor": {}}, 'unknown field "spec.donor"'),
    ],
)
def test_kubectl_shows_what_is_wrong_with_a_policy(namespace, spec, words):
    with pytest.raises(Refused) as refused:
        kubectl("apply", "-n", namespace, "-f", "-", given=yaml.safe_dump(manifest("CheckpointHeal", spec)))
    assert words in str(refused.value)
    assert one("checkpointheal", namespace, "good") is None


@each_kind
def test_the_cluster_has_the_definition_that_the_models_give(kind):
    (given,) = [each for each in definitions() if each["spec"]["names"]["kind"] == kind]
    there = one("crd", "", given["metadata"]["name"])
    assert there is not None
    conditions = {each["type"]: each["status"] for each in there["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert there["spec"]["versions"][0]["schema"] == given["spec"]["versions"][0]["schema"]
    columns = copy.deepcopy(there["spec"]["versions"][0]["additionalPrinterColumns"])
    assert columns == given["spec"]["versions"][0]["additionalPrinterColumns"]
