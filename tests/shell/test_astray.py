"""A wrong word in a label, a selector or an annotation ends no healthy epoch: it is named, and training goes on."""

from collections.abc import Callable

import pytest

from builders_api import JOB, WHERE
from builders_core import m
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.identity import JOB as JOB_MARK
from checkpointheal_operator.core.identity import REPLICA
from checkpointheal_operator.core.injection_settings import INJECT
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, PODS, Ref
from cluster_simulation import ClusterSimulation

MEMBER = m("1/0")
Edit = Callable[[Json], object]


class Edited(ClusterSimulation):
    """Somebody edits each pod of that member, after it was made."""

    edit: Edit | None = None

    def put_pods(self) -> None:
        super().put_pods()
        for pod in self.cluster.all(PODS) if self.edit is not None else ():
            if pod["metadata"]["annotations"][REPLICA] == "1":
                self.edit(pod)

    def select(self, **labels: str) -> None:
        ref = Ref(CHECKPOINTHEALS, WHERE, JOB)
        self.cluster.objects[ref]["spec"]["selector"] = {"matchLabels": labels}

    @property
    def status(self) -> Json:
        (policy,) = self.cluster.all(CHECKPOINTHEALS)
        return policy["status"]

    def told(self, condition: str) -> tuple[str, str, str]:
        found = next(each for each in self.status["conditions"] if each["type"] == condition)
        return found["status"], found["reason"], found["message"]


def training() -> Edited:
    job = Edited(3, 1)
    job.go_on()
    job.train_to(5)
    job.go_round()
    return job


def unlabel(pod: Json) -> None:
    del pod["metadata"]["labels"]["app"]


def opt_out(pod: Json) -> None:
    del pod["metadata"]["labels"][INJECT]


def unplace(pod: Json) -> None:
    del pod["metadata"]["annotations"][REPLICA]


def rename(pod: Json) -> None:
    pod["metadata"]["annotations"][JOB_MARK] = "another"


EDITS = [
    pytest.param(unlabel, "spec.selector does not select it any more: put the selector or", id="a label"),
    pytest.param(unplace, "its marks were edited: nothing on the pod tells its place", id="its place"),
    pytest.param(rename, "its marks were edited: its place is 1/0 of job another; put them back", id="its job"),
]


def test_one_that_the_next_leader_is_not_told_of_has_its_time_to_speak() -> None:
    """Its opt-in label was taken away, so no list holds it."""
    job = training()
    job.edit = opt_out
    job.look()
    job.restart_operator()
    assert [each.reason for each in job.look()] == [Reason.POD_GONE]
    assert job.status["epoch"]["open"] is True
    job.now += job.policy.report_deadline
    assert Reason.POD_LOST in [each.reason for each in job.look()]
    assert job.status["epoch"]["open"] is False, "it never spoke: it is gone"


def test_one_that_speaks_without_its_opt_in_label_ends_nothing_and_is_named_until_it_is_silent() -> None:
    job = training()
    job.edit, job.unlisted = opt_out, frozenset({job.pods[MEMBER].uid})
    assert [each.reason for each in job.look()] == [Reason.LAYOUT_DIFFERS]
    said = f"pod {job.pods[MEMBER].name} holds 1/0 in epoch 1, and its label {INJECT} is not"
    assert said in job.told("Degraded")[2]
    job.now += job.policy.agent_silence
    assert Reason.POD_GONE in [each.reason for each in job.look()]


def test_one_that_is_done_without_its_opt_in_label_is_not_missed() -> None:
    job = training()
    job.finish(MEMBER)
    job.go_round()
    job.edit, job.unlisted = opt_out, frozenset({job.pods[MEMBER].uid})
    assert Reason.LAYOUT_DIFFERS not in [each.reason for each in job.look()]


@pytest.mark.parametrize(("edit", "said"), EDITS)
def test_an_edited_pod_ends_nothing_and_is_named_and_all_goes_on_when_it_is_put_back(edit: Edit, said: str) -> None:
    job = training()
    epoch = job.status["epoch"]
    job.edit = edit
    job.now += 60
    job.train_to(8)
    assert job.is_training
    assert job.status["epoch"] == epoch
    status, reason, message = job.told("LayoutDiffers")
    assert (status, reason) == ("True", "LayoutDiffers")
    assert f"pod {job.pods[MEMBER].name} holds 1/0 in epoch 1, and {said}" in message
    job.edit = None
    assert [each.reason for each in job.look()] == [Reason.ALL_TRAIN]
    assert job.told("Degraded")[:2] == ("False", "AllWell")


def test_a_pod_that_claims_another_place_is_named_though_its_agent_was_not_heard() -> None:
    """By a leader that has just begun."""
    job = training()
    job.restart_operator()
    job.edit = lambda pod: pod["metadata"]["annotations"].update({REPLICA: "7"})
    assert [each.reason for each in job.look()] == [Reason.LAYOUT_DIFFERS]
    assert "holds 1/0 in epoch 1, and its marks were edited: its place is 7/0 of job demo" in job.told("Degraded")[2]


@pytest.mark.parametrize("labels", [{"app": "typo"}, {"app": JOB, "tier": "typo"}])
def test_a_wrong_selector_ends_nothing(labels: dict[str, str]) -> None:
    job = training()
    job.select(**labels)
    job.now += 60
    job.train_to(8)
    assert job.status["epoch"]["open"] is True
    assert f"pod {job.pods[m('0/0')].name} holds 0/0" in job.told("Degraded")[2]
    job.select(app=JOB)
    assert [each.reason for each in job.look()] == [Reason.ALL_TRAIN]


@pytest.mark.parametrize("edit", [unlabel, unplace, rename])
def test_what_it_names_helps_where_the_pod_is_to_leave_for_good(edit: Edit) -> None:
    job = training()
    job.edit = edit
    job.look()
    assert "or delete it, where it is to leave for good" in job.told("LayoutDiffers")[2]
    job.edit = None
    job.replace_pod(MEMBER)
    job.go_on()
    assert job.is_training
    assert job.status["epoch"]["number"] == 2


def test_one_that_the_layout_has_no_place_for_is_let_go() -> None:
    job = Edited(2, 1)
    job.go_on()
    job.edit = unlabel
    ref = Ref(CHECKPOINTHEALS, WHERE, JOB)
    job.cluster.objects[ref]["spec"]["layout"]["replicas"] = 1
    assert [each.reason for each in job.look()][:1] == [Reason.POD_GONE]


@pytest.mark.parametrize("how", [{"terminating": True}, {"finished": True}])
def test_one_that_has_ended_is_gone(how: dict[str, bool]) -> None:
    job = training()
    job.edit = unlabel
    for name, value in how.items():
        setattr(job.pods[MEMBER], name, value)
    assert Reason.LAYOUT_DIFFERS not in [each.reason for each in job.look()]


def test_one_whose_place_another_pod_has_is_replaced() -> None:
    """Who takes a pod's label away to look at it gets another one from its owner."""
    job = training()
    old = job.pods[MEMBER]
    job.now += 1
    job.replace_pod(MEMBER)

    def put_both() -> None:
        ClusterSimulation.put_pods(job)
        orphan = job.cluster.all(PODS)[0] | {"metadata": job.cluster.all(PODS)[0]["metadata"] | {"labels": {}}}
        orphan["metadata"] |= {"name": old.name, "uid": old.uid, "labels": {"checkpointheal.dev/inject": "true"}}
        job.cluster.put(PODS, orphan)

    job.put_pods = put_both
    job.go_on()
    assert job.is_training
    assert job.status["epoch"]["number"] == 2


def test_a_selector_that_takes_the_next_job_once_this_one_is_done_takes_it() -> None:
    job = training()
    for member in job.policy.members():
        job.finish(member)
    job.go_on()
    assert job.told("Done")[0] == "True"
    job.select(app="next")
    assert [each.reason for each in job.look()] == [Reason.ALL_DONE]
