"""What a mirror lets go of is read by nobody: slim or whole, an object tells the core the same."""

import json
from functools import partial
from pathlib import Path

import pytest

from builders_core import m
from builders_injection import a_pod
from builders_injection import settings as the_installation
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.pod_trouble import trouble
from checkpointheal_operator.shell.installed import installed
from checkpointheal_operator.shell.objects import known_heal
from checkpointheal_operator.shell.slim import slim_heal, slim_pod, slim_policy
from cluster_simulation import ClusterSimulation

MANAGED = {"managedFields": [{"manager": "checkpointheal", "fieldsV1": {"f:spec": {"f:cause": {}}}}]}


def managed(found: Json) -> Json:
    """As a real API server has it."""
    return found | {"metadata": found["metadata"] | MANAGED}


@pytest.fixture(scope="module")
def concluded() -> Json:
    """A heal from a peer, with its verdict."""
    job = ClusterSimulation(3, 1)
    job.go_on()
    job.train_to(5)
    job.go_round()
    job.replace_pod(m("1/0"))
    job.go_on()
    (heal,) = (each for ref, each in job.cluster.objects.items() if ref.kind.kind == "Heal")
    assert heal["spec"]["assignment"]["candidates"], "somebody was not chosen"
    return managed(heal)


def test_nobody_asks_who_wrote_which_field(concluded: Json) -> None:
    for slim in (slim_heal, slim_policy):
        assert "managedFields" not in slim(concluded)["metadata"]


def test_the_verdict_is_the_same_but_for_those_who_did_not_give(concluded: Json) -> None:
    whole, slim = known_heal(concluded), known_heal(slim_heal(concluded))
    assert whole is not None
    assert slim is not None
    assert whole.record.refusals
    assert slim.record == whole.record.model_copy(update={"refusals": ()})


def test_a_third_of_it_goes_and_then_nothing_more(concluded: Json) -> None:
    slim = slim_heal(concluded)
    assert len(json.dumps(slim)) < 0.7 * len(json.dumps(concluded))
    assert slim_heal(slim) == slim


def test_an_open_heal_is_told_as_it_stands(concluded: Json) -> None:
    still_open = concluded | {"status": concluded["status"] | {"concludedAt": None}}
    assert managed(slim_heal(still_open)) == still_open


@pytest.mark.parametrize("said", [{}, {"spec": None, "status": None}, {"status": {"concludedAt": "x"}}])
def test_what_is_no_heal_of_ours_is_no_error_here(said: Json) -> None:
    assert slim_heal({"metadata": {"name": "a"}} | said)["metadata"] == {"name": "a"}


def a_pod_beside(bystander: str) -> Json:
    pod = a_pod()
    pod["spec"]["containers"].append({"name": bystander, "image": "proxy"})
    return pod


def test_a_pod_without_an_agent_is_told_why_by_what_its_installation_says_now(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    settings = partial(installed, file)
    told: list[str] = []
    for bystanders in ((), ("cloud-sql-proxy",)):
        file.write_text(the_installation(bystanders=bystanders).model_dump_json())
        found = trouble(slim_pod(a_pod_beside("cloud-sql-proxy"), settings))
        assert found is not None
        told.append(found.message)
    assert "TrainerAmbiguous" in told[0]
    assert "the next pod is refused for the same" in told[0]
    assert "TrainerAmbiguous" not in told[1]
    assert "the next one gets an agent" in told[1]


@pytest.mark.parametrize("said", [None, "{", "{}"])
def test_an_installation_whose_settings_cannot_be_read_is_like_one_that_names_none(
    said: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "settings.json"
    if said is not None:
        file.write_text(said)
    assert (installed(file), installed(None)) == (None, None)
    assert "the webhook's settings cannot be read" in caplog.text
