"""What a pod's object tells of an agent that is not at work, and who is told what for it."""

from typing import Any

import pytest

from builders_core import NOW, a_job, m, with_heard, with_pod
from builders_injection import settings
from checkpointheal_operator.core.facts import Trouble
from checkpointheal_operator.core.identity import JOB, REPLICA
from checkpointheal_operator.core.injection_parts import AGENT
from checkpointheal_operator.core.injection_settings import INJECT
from checkpointheal_operator.core.pod_trouble import (
    LONGEST,
    WHY_WITHOUT,
    agent_status,
    no_policy,
    not_begun,
    passed_over,
    trouble,
    why_without,
)
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.status import NO_AGENT, job_conditions, standing_back
from checkpointheal_operator.core.view import JobView

THERE = {"initContainers": [{"name": "first"}, {"name": AGENT}]}


def a_pod(spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "trainer-1"}, "spec": THERE if spec is None else spec, "status": status}


def with_agent(state: dict[str, Any] | None, last: dict[str, Any] | None = None) -> dict[str, Any]:
    said = {"name": AGENT, "image": "registry/agent:1", "state": state, "lastState": last}
    return a_pod(initContainerStatuses=[{"name": "first"}, said])


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return with_agent({"waiting": {"reason": reason, "message": message}})


OUT_OF_MEMORY = {"terminated": {"reason": "OOMKilled"}}


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        pytest.param(a_pod({}), Reason.NOT_INJECTED, id="nothing before the trainer"),
        pytest.param(a_pod({"initContainers": None}), Reason.NOT_INJECTED, id="an explicit null"),
        pytest.param(a_pod({"initContainers": [{"name": "x"}]}), Reason.NOT_INJECTED, id="somebody else's"),
        pytest.param({"metadata": {"name": "bare"}}, Reason.NOT_INJECTED, id="a pod without spec or status"),
        *(
            pytest.param(waiting(why), Reason.AGENT_IMAGE_UNAVAILABLE, id=why)
            for why in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
        ),
        *(
            pytest.param(waiting(why), Reason.AGENT_CANNOT_START, id=why)
            for why in ("CreateContainerConfigError", "CrashLoopBackOff", "RunContainerError", "CreateContainerError")
        ),
        pytest.param(with_agent({"terminated": {"reason": "StartError"}}), Reason.AGENT_CANNOT_START, id="StartError"),
        pytest.param(with_agent(OUT_OF_MEMORY), Reason.AGENT_OUT_OF_MEMORY, id="out of memory"),
        pytest.param(with_agent({"running": {}}, OUT_OF_MEMORY), Reason.AGENT_OUT_OF_MEMORY, id="and started again"),
        pytest.param(
            with_agent({"waiting": {"reason": "CrashLoopBackOff"}}, OUT_OF_MEMORY),
            Reason.AGENT_OUT_OF_MEMORY,
            id="again and again",
        ),
    ],
)
def test_what_keeps_an_agent_from_its_work_has_one_name(pod, reason):
    found = trouble(pod)
    assert found is not None
    assert found.reason == reason
    assert pod["metadata"]["name"] in found.message


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(a_pod(), id="nothing said of it yet"),
        pytest.param(a_pod({"ephemeralContainers": [{"name": AGENT}]}), id="an agent that came later"),
        pytest.param(waiting("PodInitializing"), id="it begins"),
        pytest.param(with_agent({"running": {}}), id="it runs"),
        pytest.param(with_agent(None), id="no state"),
        pytest.param(with_agent({"terminated": {"reason": "Error"}}), id="it ended once"),
        pytest.param(a_pod({}, phase="Succeeded"), id="the pod is done"),
        pytest.param(a_pod({}, phase="Failed"), id="the pod has failed"),
        pytest.param(
            a_pod({}) | {"metadata": {"name": "x", "deletionTimestamp": "1970-01-01T00:00:00Z"}}, id="it goes"
        ),
    ],
)
def test_a_pod_whose_agent_works_or_begins_or_that_is_at_its_end_is_in_no_trouble(pod):
    assert trouble(pod) is None


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/8 nodes are available: 8 Insufficient nvidia.com/gpu.",
}
GATED = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
ON_A_NODE = THERE | {"nodeName": "n1"}


@pytest.mark.parametrize(
    ("pod", "reason", "told"),
    [
        pytest.param(
            a_pod(phase="Pending", conditions=[{"type": "Ready"}, UNSCHEDULABLE]),
            Reason.NO_NODE,
            "(Unschedulable: 0/8 nodes are available: 8 Insufficient nvidia.com/gpu.)",
            id="no node has room",
        ),
        pytest.param(a_pod(phase="Pending", conditions=[GATED]), Reason.NO_NODE, "(SchedulingGated)", id="a queue's"),
        pytest.param(a_pod(phase="Pending"), Reason.NO_NODE, "(no scheduler has looked at it)", id="it is new"),
        pytest.param(a_pod(ON_A_NODE, phase="Pending"), Reason.NOT_STARTED, "node n1", id="its node has said nothing"),
        pytest.param(
            {**waiting("PodInitializing"), "spec": ON_A_NODE}
            | {"status": {"phase": "Pending", **waiting("PodInitializing")["status"]}},
            Reason.NOT_STARTED,
            "node n1",
            id="its node pulls the image",
        ),
    ],
)
def test_a_pod_that_has_not_begun_says_what_it_waits_for(pod, reason, told):
    found = not_begun(pod)
    assert found is not None
    assert (found.reason, told in found.message) == (reason, True)


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(a_pod(phase="Running"), id="it runs"),
        pytest.param(
            a_pod(ON_A_NODE, phase="Pending", initContainerStatuses=[{"name": AGENT, "state": {"running": {}}}]),
            id="its agent runs, and something else is awaited",
        ),
        pytest.param(
            {"metadata": {"name": "x", "deletionTimestamp": "1970-01-01T00:00:00Z"}, "status": {"phase": "Pending"}},
            id="it goes",
        ),
    ],
)
def test_a_pod_that_has_begun_or_goes_waits_for_nothing(pod):
    assert not_begun(pod) is None


def opted_in(spec: dict[str, Any]) -> dict[str, Any]:
    marks = {"labels": {INJECT: "true"}, "annotations": {JOB: "demo", REPLICA: "0"}}
    return {"metadata": {"name": "trainer-1", **marks}, "spec": {"containers": [{"name": "t", "image": "i"}]} | spec}


def with_a(accelerator: str) -> dict[str, Any]:
    first = {"name": "a", "resources": {"limits": {accelerator: "8"}}}
    return opted_in({"containers": [first, {"name": "b"}]})


def test_a_pod_that_the_webhook_missed_says_that_the_next_one_gets_an_agent():
    found = trouble(opted_in({}))
    assert found is not None
    assert "the webhook did not answer when it was made" in found.message
    assert "the next one gets an agent" in found.message


@pytest.mark.parametrize(
    ("pod", "why"),
    [
        (opted_in({"resources": {"limits": {"memory": "8Gi"}}}), "PodLevelResources: the pod limits its containers"),
        (opted_in({"containers": []}), "UnreadablePod: the pod cannot be read"),
        (opted_in({}) | {"metadata": {"name": "trainer-1", "labels": {INJECT: "true"}}}, "NoPlace: nothing on the pod"),
    ],
)
def test_a_pod_that_was_refused_says_why_and_that_the_next_one_will_be_too(pod, why):
    found = trouble(pod)
    assert found is not None
    assert found.message.startswith(f"pod trainer-1 opted in, but no agent is in it: {why}")
    assert "the next pod is refused for the same" in found.message
    assert "gets an agent" not in found.message


TWO = opted_in({"containers": [{"name": "a"}, {"name": "b"}]})


def test_who_does_not_know_the_installation_is_not_sure_that_nobody_could_tell_the_trainer():
    told = why_without(TWO)
    assert told.startswith("the webhook did not answer when it was made")
    assert "or, unless the chart's agent.accelerators or agent.bystanders tell its trainer, TrainerAmbiguous: " in told


@pytest.mark.parametrize(
    ("pod", "installation", "told"),
    [
        (TWO, {}, "TrainerAmbiguous: none of a, b asks"),
        (TWO, {"bystanders": ("b",)}, "the webhook did not answer"),
        (TWO, {"accelerators": ("example.com/",)}, "TrainerAmbiguous: none of a, b asks"),
        (with_a("example.com/npu"), {"accelerators": ("example.com/",)}, "the webhook did not answer"),
        (with_a("amd.com/gpu"), {"accelerators": ("nvidia.com/",)}, "TrainerAmbiguous: none of a, b asks"),
        (with_a("amd.com/gpu"), {}, "the webhook did not answer"),
    ],
)
def test_by_the_installations_settings_it_is_sure_whether_the_next_one_is_refused(pod, installation, told):
    said = why_without(pod, settings(**installation))
    assert said.startswith(told)
    assert ("the next pod is refused for the same" in said) is told.startswith("TrainerAmbiguous")


def test_what_a_mirror_has_kept_of_it_is_told_again():
    found = trouble(opted_in({WHY_WITHOUT: "it was refused"}))
    assert found is not None
    assert found.message == "pod trainer-1 opted in, but no agent is in it: it was refused"


def test_of_a_pod_at_its_end_nobody_is_told_that_no_policy_selects_it():
    assert no_policy(a_pod(phase="Succeeded")) is None


def test_what_the_kubelet_says_is_passed_on_but_not_without_end():
    found = trouble(waiting("ErrImagePull", "no such tag " + "x" * 1000))
    assert found is not None
    assert "registry/agent:1 (ErrImagePull: no such tag" in found.message
    assert len(found.message) < LONGEST + 300


def test_what_is_said_of_other_containers_is_not_the_agents():
    assert agent_status(a_pod(initContainerStatuses=[{"name": "first"}])) == {}


TROUBLE = Trouble(reason=Reason.NOT_INJECTED, message="no agent")
MEMBER = m("1/0")


def conditions(view: JobView) -> dict[str, tuple[bool, str]]:
    return {each.type: (each.status, each.reason) for each in job_conditions(view, NOW)}


def silent(view: JobView) -> JobView:
    return view.model_copy(update={"heard": tuple(e for e in view.heard if e.report.member != MEMBER)})


def test_a_member_without_an_agent_is_not_protected_and_the_job_degraded_and_silence_is_not_told_besides():
    found = conditions(silent(with_pod(a_job(), MEMBER, trouble=TROUBLE)))
    assert found["Protected"] == (False, "NotInjected")
    assert found["Degraded"] == (True, "NotInjected")
    degraded = job_conditions(silent(with_pod(a_job(), MEMBER, trouble=TROUBLE)), NOW)[2]
    assert degraded.message == "no agent"


def test_an_agent_that_fell_silent_is_told_with_what_keeps_it():
    view = with_heard(with_pod(a_job(), MEMBER, trouble=TROUBLE), MEMBER, at=0.0)
    assert "no agent; the agent of 1/0 was last heard" in job_conditions(view, NOW)[2].message


def test_an_agent_that_speaks_is_at_work_whatever_its_pods_object_still_says():
    found = conditions(with_pod(a_job(), MEMBER, trouble=TROUBLE))
    assert (found["Protected"], found["Degraded"]) == ((True, "AllWell"), (False, "AllWell"))


def test_every_trouble_of_an_agent_leaves_its_member_unprotected():
    for reason in NO_AGENT:
        view = silent(with_pod(a_job(), MEMBER, trouble=Trouble(reason=reason, message="x")))
        assert conditions(view)["Protected"] == (False, str(reason))


def test_who_is_selected_by_nobody_and_who_by_two_is_told_by_name():
    alone = no_policy(a_pod())
    assert alone is not None
    assert (alone.reason, "trainer-1" in alone.message) == ("NoPolicy", True)
    (told,) = standing_back("elder", "trainer-1")
    assert (told.type, told.status, told.reason) == ("Conflicting", True, "Conflicting")
    assert "elder is older and selects pod trainer-1 too" in told.message


def test_a_pod_without_a_node_degrades_its_job_and_is_not_told_to_lack_an_agent():
    trouble = Trouble(reason=Reason.NO_NODE, message="pod p has no node yet")
    view = silent(with_pod(a_job(), MEMBER, trouble=trouble, seen_since=0.0))
    found = conditions(view)
    assert found["Degraded"] == (True, "NoNode")
    assert found["Protected"] == (True, "AllWell")
    assert job_conditions(view, NOW)[2].message == "pod p has no node yet"


def test_of_a_pod_in_a_namespace_that_the_webhook_passes_over_it_is_told_that_a_new_pod_changes_nothing():
    found = passed_over(Trouble(reason=Reason.NOT_INJECTED, message="no agent"), "trainer-1")
    assert found is not None
    assert (found.reason, found.message) == (
        "NamespaceOptedOut",
        (
            "pod trainer-1 opted in, but the webhook passes its namespace over, so no agent is in it, nor would be in "
            "the next one: take the label checkpointheal.dev/inject=false from the namespace, or have the chart's "
            "webhook.namespaceSelector take it in; or leave the opt-in label out"
        ),
    )


@pytest.mark.parametrize("other", [None, Trouble(reason=Reason.AGENT_OUT_OF_MEMORY, message="x")])
def test_another_trouble_has_nothing_to_do_with_the_namespace(other):
    assert passed_over(other, "trainer-1") == other
