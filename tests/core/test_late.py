"""A pod that runs without an agent gets one late where it was made with all that an agent needs, and only there."""

import copy
import itertools
from typing import Any

import pytest

from builders_injection import a_pod, annotated, injected, settings
from checkpointheal.contract.seats import LOCAL_RANKS, RANKS
from checkpointheal_operator.core.injected import NotInjected
from checkpointheal_operator.core.injection_parts import AGENT, ARENA, SCRATCH, TOKEN, TRAINER_VARIABLES
from checkpointheal_operator.core.late import late_agent

Json = dict[str, Any]


def stripped(pod: Json | None = None) -> Json:
    """An injected pod whose agent another webhook has thrown out again."""
    found = copy.deepcopy(injected(pod or a_pod()))
    found["spec"]["initContainers"] = [each for each in found["spec"]["initContainers"] if each["name"] != AGENT]
    return found


def without(pod: Json, what: str) -> Json:
    """One part is missing, by its name."""
    trainer, spec = pod["spec"]["containers"][0], pod["spec"]
    spec["volumes"] = [each for each in spec["volumes"] if each["name"] != what]
    trainer["volumeMounts"] = [each for each in trainer["volumeMounts"] if each["name"] != what]
    trainer["env"] = [each for each in trainer["env"] if each["name"] != what]
    return pod


def agent_in(pod: Json) -> Json:
    return next(each for each in pod["spec"]["initContainers"] if each["name"] == AGENT)


def late(pod: Json) -> Json:
    found = late_agent(pod, settings())
    assert not isinstance(found, NotInjected), found
    return found


def refusal(pod: object) -> NotInjected:
    found = late_agent(pod, settings())  # type: ignore[arg-type]
    assert isinstance(found, NotInjected)
    return found


def test_it_is_the_agent_that_injection_gives_without_what_an_ephemeral_container_may_not_have():
    usual, found = agent_in(injected(a_pod())), late(stripped())
    differs = {"restartPolicy", "resources", "ports", "env"}
    assert {key: value for key, value in found.items() if key != "env"} == {
        key: value for key, value in usual.items() if key not in differs
    }


def test_it_is_told_what_injection_tells_but_a_port_that_nobody_declared():
    told = {each["name"]: each for each in late(stripped())["env"]}
    usual = {each["name"]: each for each in agent_in(injected(a_pod()))["env"]}
    assert told.pop("CHECKPOINTHEAL_PORT")["value"] == "0"
    assert usual.pop("CHECKPOINTHEAL_PORT")["value"] == "7460"
    assert told == usual


def test_it_runs_as_the_trainers_user():
    pod = stripped(a_pod({"securityContext": {"runAsUser": 1000, "runAsGroup": 3000}}))
    assert late(pod)["securityContext"]["runAsUser"] == 1000


def test_without_a_scratch_its_root_is_writable():
    found = late(without(stripped(), SCRATCH))
    assert found["securityContext"]["readOnlyRootFilesystem"] is False
    assert SCRATCH not in {each["name"] for each in found["volumeMounts"]}


@pytest.mark.parametrize("what", [ARENA, TOKEN, *TRAINER_VARIABLES])
def test_whatever_it_lacks_is_named(what):
    found = refusal(without(stripped(), what))
    assert found.reason == "TooLate"
    assert what in found.message


def test_all_that_it_lacks_is_named_at_once():
    for one, other in itertools.combinations([TOKEN, *TRAINER_VARIABLES], 2):
        said = refusal(without(without(stripped(), one), other)).message
        assert one in said
        assert other in said


def test_a_pod_as_its_owner_made_it_gets_none():
    assert refusal(a_pod()).reason == "TooLate"


def test_a_bad_annotation_a_pod_without_a_place_and_something_that_is_no_pod_are_refused_by_name():
    assert refusal(annotated(stripped(), agent_cpu="lots")).reason == "BadAnnotation"
    nobody = stripped()
    nobody["metadata"]["labels"].pop("apps.kubernetes.io/pod-index")
    assert refusal(nobody).reason == "NoPlace"
    assert refusal({"spec": 1}).reason == "UnreadablePod"


@pytest.mark.parametrize("lost", [LOCAL_RANKS, RANKS])
def test_several_trainers_that_were_not_told_so_get_none(lost: str):
    pod = annotated(a_pod(), local_ranks="2")
    assert late(stripped(pod))["env"][3:5] == [{"name": LOCAL_RANKS, "value": "2"}, {"name": RANKS, "value": "1"}]
    found = late_agent(without(stripped(pod), lost), settings())
    assert isinstance(found, NotInjected)
    assert f"the variable {lost} in trainer" in found.message
