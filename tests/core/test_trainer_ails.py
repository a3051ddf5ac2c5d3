"""What a pod's object tells of a trainer that does not come up."""

import json
from typing import Any

import pytest

from checkpointheal_operator.core.injection_settings import INJECTED
from checkpointheal_operator.core.trainer_ails import LONGEST, ill, trainer_ails

BACKS_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}}
OUT_OF_MEMORY = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-01-01T00:00:00Z"}}


def said(name: str, state: dict[str, Any] | None, last: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "image": "trainer:1", "restartCount": 7, "state": state, "lastState": last}


def a_pod(*statuses: dict[str, Any], marker: str | None = json.dumps({"trainer": "trainer"})) -> dict[str, Any]:
    annotations = None if marker is None else {INJECTED: marker}
    return {"metadata": {"name": "trainer-1", "annotations": annotations}, "status": {"containerStatuses": statuses}}


@pytest.mark.parametrize(
    ("state", "last", "told"),
    [
        pytest.param(
            BACKS_OFF,
            OUT_OF_MEMORY,
            "CrashLoopBackOff: back-off 5m0s restarting failed container; its last start ended: OOMKilled, code 137",
            id="again and again out of memory",
        ),
        pytest.param({"waiting": {"reason": "ImagePullBackOff"}}, None, "ImagePullBackOff", id="no image"),
        pytest.param({"terminated": {"exitCode": 1}}, {}, "it ended: Error, code 1", id="it ended"),
        pytest.param({"running": {}}, OUT_OF_MEMORY, "its last start ended: OOMKilled, code 137", id="it runs again"),
        pytest.param({"running": {}}, None, "", id="it runs"),
        pytest.param({"waiting": {"reason": "ContainerCreating"}}, {}, "", id="it comes up"),
        pytest.param({"waiting": {}}, {}, "", id="nothing is said"),
        pytest.param({"terminated": {"reason": "Completed", "exitCode": 0}}, {}, "", id="it was done"),
        pytest.param(None, None, "", id="no state"),
    ],
)
def test_what_ails_a_trainers_container_is_told_in_a_clause(state, last, told):
    assert trainer_ails(a_pod(said("trainer", state, last))) == told


def test_what_ails_another_container_is_not_told_of_the_trainer():
    logger = said("logger", BACKS_OFF)
    assert trainer_ails(a_pod(logger, said("trainer", {"running": {}}))) == ""
    assert trainer_ails(a_pod(logger, said("trainer", {"waiting": {"reason": "ErrImagePull"}}))) == "ErrImagePull"


@pytest.mark.parametrize("marker", [None, "", "{", "[]", "{}"])
def test_where_nobody_marked_the_trainer_any_container_may_be_it(marker):
    found = a_pod(said("a", {"running": {}}), said("b", {"waiting": {"reason": "ErrImagePull"}}), marker=marker)
    assert trainer_ails(found) == "ErrImagePull"


def test_of_a_pod_whose_trainer_is_well_nothing_is_kept_and_of_an_ill_one_little():
    assert ill(a_pod(said("trainer", {"running": {"startedAt": "2026-01-01T00:00:00Z"}}))) == []
    assert ill({"metadata": {"name": "bare"}}) == []
    long = {"waiting": {"reason": "ErrImagePull", "message": "no such tag " + "x" * 1000}}
    kept = ill(a_pod(said("trainer", long, OUT_OF_MEMORY)))
    assert len(json.dumps(kept)) < LONGEST + 200
    assert ill(a_pod(*kept)) == kept
