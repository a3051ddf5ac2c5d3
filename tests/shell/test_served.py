"""An operator knows which namespaces the webhook passes over and is quiet about pods there; it goes on without."""

from collections.abc import Iterator

import pytest
from aiohttp import web

from builders_api import WHERE, a_policy, pod_object
from builders_core import a_pod, m
from checkpointheal_operator.api.policy import Requirement
from checkpointheal_operator.shell import pod_events
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, EVENTS, NAMESPACES, PODS
from checkpointheal_operator.shell.served import is_served
from replicas import POLICY, Stage

OPTED_OUT = {"checkpointheal.dev/inject": "false"}
WILLING = Requirement(key="checkpointheal.dev/inject", operator="NotIn", values=("false",))
OF_A_TEAM = Requirement(key="team", operator="In", values=("a", "b"))


@pytest.mark.parametrize(
    ("labels", "served"),
    [
        ({"team": "a"}, True),
        ({"team": "a", "checkpointheal.dev/inject": "true"}, True),
        ({"team": "a"} | OPTED_OUT, False),
        ({"team": "c"}, False),
        ({}, False),
    ],
)
def test_a_namespace_is_served_that_meets_all_requirements(labels: dict[str, str], served: bool):
    assert is_served((WILLING, OF_A_TEAM), labels) == served


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A job of one pod that has no agent, in a namespace that opted out."""
    monkeypatch.setattr(pod_events, "ROUND_EVERY", 0.1)
    monkeypatch.setattr(pod_events, "LOOK_EVERY", 0.05)
    with Stage(namespace_selector=f"[{WILLING.model_dump_json()}]") as found:
        pod = pod_object(a_pod(m("0/0")))
        pod["spec"]["initContainers"] = []
        found.call(lambda: found.cluster.put(PODS, pod))
        found.call(lambda: found.cluster.put(CHECKPOINTHEALS, a_policy(layout={"replicas": 1})))
        label(found, **OPTED_OUT)
        yield found


def label(stage: Stage, **labels: str) -> None:
    body = {"metadata": {"name": WHERE, "namespace": "", "labels": labels}}
    stage.call(lambda: stage.cluster.put(NAMESPACES, body))


def degraded(stage: Stage) -> str:
    found = stage.call(lambda: stage.cluster.objects[POLICY].get("status", {}).get("conditions", []))
    return next((str(each["reason"]) for each in found if each["type"] == "Degraded"), "")


def events(stage: Stage) -> set[str]:
    return {each["reason"] for each in stage.call(lambda: stage.cluster.all(EVENTS))}


def troubled(stage: Stage) -> bool:
    return 'checkpointheal_pods_in_trouble{reason="NotInjected"} 1.0' in stage.page("operator-0", "/metrics")[1]


def test_a_pod_without_an_agent_where_the_webhook_passes_over_is_its_jobs_word_and_nobodys_alarm(stage):
    stage.start("operator-0")
    stage.until(lambda: degraded(stage) == "NamespaceOptedOut")
    assert (events(stage), troubled(stage)) == (set(), False)
    label(stage)
    stage.until(lambda: degraded(stage) == "NotInjected")
    stage.until(lambda: troubled(stage) and events(stage) == {"NotInjected"})
    label(stage, **OPTED_OUT)
    stage.until(lambda: degraded(stage) == "NamespaceOptedOut" and not troubled(stage))


def test_an_operator_that_may_not_read_namespaces_leads_and_takes_all_for_served(stage):
    def refuse(request: web.Request) -> web.Response | None:
        return web.json_response({}, status=403) if request.path == "/api/v1/namespaces" else None

    stage.api.refuse = refuse
    stage.start("operator-0")
    stage.until(lambda: degraded(stage) == "NotInjected" and troubled(stage))
    assert (stage.probe("operator-0", "/readyz"), stage.probe("operator-0", "/healthz")) == (200, 200)
