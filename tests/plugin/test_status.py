"""`status`: problems first, each with its remedy; then how every job stands."""

import pytest

from builders_api import JOB, WHERE, a_policy
from builders_core import m
from builders_plugin import (
    NOW,
    POLICY,
    Desktop,
    a_training_job,
    drawn,
    healed,
    receiving,
    replaced,
    seen_of,
    text,
    with_agents,
    without_colours,
)
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.core.injection_parts import AGENT
from checkpointheal_operator.core.pod_trouble import NO_IMAGE, NO_START, OUT_OF_MEMORY, trouble
from checkpointheal_operator.core.reasons import Cause, Reason
from checkpointheal_operator.plugin.remedies import GENERIC, REMEDIES, remedy
from checkpointheal_operator.plugin.seen import Seen
from checkpointheal_operator.plugin.standing import epoch_told, page, problems
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, PODS, Ref
from cluster_simulation import ClusterSimulation

SCOPE = f"in namespace {WHERE}"


def told(job: ClusterSimulation, *besides: str) -> str:
    with_agents(job.cluster, *besides)
    return text(page(seen_of(job.cluster), SCOPE, job.now))


def sentences(job: ClusterSimulation) -> list[str]:
    return [each.sentence for each in problems(seen_of(job.cluster))]


def test_a_job_in_good_health_has_no_problem_and_every_member_a_row():
    job = a_training_job()
    said = told(job)
    assert problems(seen_of(job.cluster)) == ()
    assert "!" not in said
    assert said.startswith(f"CheckpointHeal {WHERE}/{JOB}\n")
    assert "epoch 1 for 2s, 3 members; job demo" in said
    assert "Training   yes: " in said
    assert [line.split()[:4] for line in said.splitlines() if "/0 " in line and "running" in line] == [
        ["0/0", "pod-0-0-1", "node-0", "running"],
        ["1/0", "pod-1-0-2", "node-1", "running"],
        ["2/0", "pod-2-0-3", "node-2", "running"],
    ]


def test_of_a_job_of_more_members_than_there_can_be_only_those_that_were_seen_have_a_row():
    job = a_training_job()
    job.cluster.objects[POLICY]["spec"]["layout"] = {"replicas": 1000000, "ranks": 1000000}
    rows = [line.split()[0] for line in told(job).splitlines() if "/0 " in line and "running" in line]
    assert rows == ["0/0", "1/0", "2/0"]


def test_a_member_that_was_healed_says_from_whom_and_how_long_it_took():
    job = healed(replaced(a_training_job()))
    job.now += 100
    assert "healed from pod-0-0-1 at step 5 in 3.5s, 100s ago" in told(job)
    assert problems(seen_of(job.cluster)) == ()


def test_while_a_heal_is_open_problems_come_first_and_its_progress_last():
    said = told(receiving(replaced(a_training_job()), 1 << 29))
    first, last = said.splitlines()[0], said.splitlines()[-1]
    assert first.startswith("! training/demo: not training: PodReplaced: the pod of 1/0 was replaced by")
    assert "-> nothing: a heal is under way" in said
    assert "receives step 5 from pod-0-0-1, 25% of 2.0 GiB (attempt 1)" in last


def test_a_member_without_a_pod_is_told_once():
    job = a_training_job()
    for ref in [each for each in job.cluster.objects if each.kind == PODS and each.name == "pod-1-0-2"]:
        del job.cluster.objects[ref]
    with_agents(job.cluster)
    found = [each for each in problems(seen_of(job.cluster)) if "no pod holds the place of 1/0" in each.sentence]
    assert len(found) == 1
    assert "spec.layout.replicas" in found[0].fix
    assert "1/0     none" in told(job)


def without_pods(job: ClusterSimulation, *members: str) -> ClusterSimulation:
    """Of all members, where none is named."""
    for member in members or map(str, job.pods):
        del job.cluster.objects[Ref(PODS, WHERE, job.pods[m(member)].name)]
    return job


def test_nobody_is_missed_of_a_job_that_is_done():
    job = a_training_job()
    for member in list(job.pods):
        job.finish(member)
    job.now += 1
    job.go_round()
    assert "Done       yes" in told(without_pods(job))
    assert sentences(job) == []


def test_nor_is_a_member_that_the_others_go_on_without():
    job = without_pods(a_training_job(), "2/0")
    epoch = job.cluster.objects[POLICY]["status"]["epoch"]
    epoch["members"] = [each for each in epoch["members"] if each["member"] != "2/0"]
    epoch["leftOut"] = [{"member": "2/0", "since": 5, "epoch": 1}]
    job.cluster.objects[POLICY]["spec"]["layout"] = {"replicas": 3}
    with_agents(job.cluster)
    assert not any("nothing begins without it" in each for each in sentences(job))
    epoch["open"] = False
    assert any("nothing begins without it" in each for each in sentences(job))


def test_a_pod_that_slipped_through_is_told_with_what_to_do():
    job = a_training_job()
    said = told(job, "pod-1-0-2")
    assert "! pod pod-1-0-2 opted in, but no agent is in it: the webhook did not answer when it was made, or" in said
    assert "passes its namespace over (the label checkpointheal.dev/inject=false" in said
    assert f"kubectl get namespace {WHERE} --show-labels" in said
    assert "kubectl delete pod pod-1-0-2" in said


def test_a_pod_that_could_not_be_injected_is_told_with_the_reason():
    job = a_training_job()
    job.cluster.objects[Ref(PODS, WHERE, "pod-1-0-2")]["spec"]["resources"] = {"limits": {"memory": "8Gi"}}
    said = told(job, "pod-1-0-2")
    assert "pod pod-1-0-2 opted in, but no agent is in it: PodLevelResources: the pod limits" in said
    assert "-> mend that in the pod template, then let the pod be made anew: kubectl delete pod pod-1-0-2" in said


def test_of_a_pod_whose_trainer_only_the_installation_may_know_both_is_told():
    job = a_training_job()
    two = [{"name": "a", "image": "a"}, {"name": "b", "image": "b"}]
    job.cluster.objects[Ref(PODS, WHERE, "pod-1-0-2")]["spec"]["containers"] = two
    said = told(job, "pod-1-0-2")
    assert "the webhook did not answer when it was made" in said
    assert "agent.bystanders tell its trainer, TrainerAmbiguous: none of a, b asks" in said
    assert "-> look at the webhook" in said


def test_a_selected_pod_that_did_not_opt_in_is_a_problem():
    job = a_training_job()
    pod = job.cluster.objects[Ref(PODS, WHERE, "pod-1-0-2")]
    pod["metadata"]["labels"].pop("checkpointheal.dev/inject")
    with_agents(job.cluster, "pod-1-0-2")
    assert "pod pod-1-0-2 is not opted in: it has no agent and is never healed" in sentences(job)


@pytest.mark.parametrize("reason", sorted({*NO_IMAGE, *NO_START, OUT_OF_MEMORY}))
def test_an_agent_that_is_not_at_work_is_told_in_the_operators_words(reason):
    job = a_training_job()
    with_agents(job.cluster)
    pod = job.cluster.objects[Ref(PODS, WHERE, "pod-1-0-2")]
    pod["status"]["initContainerStatuses"][0]["state"] = {"waiting": {"reason": reason}}
    (found,) = (each for each in problems(seen_of(job.cluster)) if each.about == "pod pod-1-0-2")
    assert found.sentence == trouble(pod).message
    assert found.fix
    assert f"node-1  {reason}" in text(page(seen_of(job.cluster), SCOPE, NOW))


def test_whose_pull_secrets_count_is_told_where_an_image_cannot_be_had():
    job = a_training_job()
    with_agents(job.cluster)
    status = job.cluster.objects[Ref(PODS, WHERE, "pod-1-0-2")]["status"]
    status["initContainerStatuses"][0]["state"] = {"waiting": {"reason": "ImagePullBackOff"}}
    (found,) = (each for each in problems(seen_of(job.cluster)) if each.about == "pod pod-1-0-2")
    assert "the pod's own pull secret" in found.sentence
    assert "imagePullSecrets of the pod template or of its ServiceAccount" in found.fix


def test_an_agent_that_runs_again_after_it_had_no_memory_is_no_problem():
    job = a_training_job()
    with_agents(job.cluster)
    said = job.cluster.objects[Ref(PODS, WHERE, "pod-1-0-2")]["status"]["initContainerStatuses"][0]
    said["lastState"] = {"terminated": {"reason": OUT_OF_MEMORY, "exitCode": 137}}
    assert problems(seen_of(job.cluster)) == ()


def test_an_agent_that_was_added_late_is_the_pods_agent():
    job = a_training_job()
    with_agents(job.cluster, "pod-1-0-2")
    pod = job.cluster.objects[Ref(PODS, WHERE, "pod-1-0-2")]
    pod["spec"]["ephemeralContainers"] = [{"name": AGENT}]
    pod["status"]["ephemeralContainerStatuses"] = [{"name": AGENT, "state": {"running": {}}}]
    assert problems(seen_of(job.cluster)) == ()
    assert "1/0     pod-1-0-2  node-1  running" in text(page(seen_of(job.cluster), SCOPE, NOW))


def test_a_pod_at_its_end_needs_no_agent():
    job = a_training_job()
    with_agents(job.cluster, "pod-1-0-2")
    job.cluster.objects[Ref(PODS, WHERE, "pod-1-0-2")]["status"]["phase"] = "Succeeded"
    assert not any("no agent" in each for each in sentences(job))


def test_a_pod_without_a_node_says_why():
    job = a_training_job()
    with_agents(job.cluster)
    said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes fit"}
    job.cluster.objects[Ref(PODS, WHERE, "pod-1-0-2")]["status"]["conditions"] = [said]
    assert "pod pod-1-0-2 has no node: 0/3 nodes fit" in sentences(job)


def test_a_pod_of_another_job_is_named():
    job = a_training_job()
    job.cluster.objects[Ref(PODS, WHERE, "pod-1-0-2")]["metadata"]["annotations"]["checkpointheal.dev/job"] = "other"
    assert "pod pod-1-0-2 belongs to job other, not to demo: it is left alone" in sentences(job)


def test_opted_in_pods_that_nobody_selects_are_a_problem():
    job = a_training_job()
    seen = seen_of(job.cluster)
    (found,) = problems(Seen(pods=seen.pods))
    assert found.sentence == (
        "no CheckpointHeal selects pod-0-0-1, pod-1-0-2 and pod-2-0-3: nobody answers their restore()"
    )


def test_a_pod_under_two_policies_is_a_problem():
    job = a_training_job()
    job.cluster.put(CHECKPOINTHEALS, a_policy() | {"metadata": {"name": "twin", "namespace": WHERE}})
    assert "pod pod-1-0-2 is selected by demo and twin" in sentences(job)


def test_a_policy_that_no_operator_has_seen_asks_for_the_operator():
    job = ClusterSimulation()
    (found, *_) = problems(seen_of(job.cluster))
    assert found.sentence == "the operator has not looked at it yet"
    assert "kubectl get pods -A -l app.kubernetes.io/part-of=checkpointheal" in found.fix


def test_a_spec_that_changed_since_is_told():
    job = a_training_job()
    job.cluster.objects[POLICY]["metadata"]["generation"] = 7
    assert "the operator has not seen the latest change of its spec" in sentences(job)


def test_pods_under_a_policy_that_cannot_be_read_are_not_nobodys():
    job = a_training_job()
    with_agents(job.cluster)
    job.cluster.objects[POLICY]["spec"]["fallback"] = "Newer"
    (found,) = sentences(job)
    assert found.startswith("CheckpointHeal demo cannot be read: spec.fallback")
    job.cluster.put(CHECKPOINTHEALS, a_policy() | {"metadata": {"name": "twin", "namespace": WHERE}})
    assert "pod pod-1-0-2 is selected by twin and demo" in sentences(job), "as the operator reads them"


def test_what_cannot_be_read_is_told_and_the_rest_stands():
    job = a_training_job()
    with_agents(job.cluster)
    broken = {"metadata": {"name": "odd", "namespace": WHERE, "uid": "odd"}, "spec": {"selector": 3}}
    job.cluster.objects[Ref(CHECKPOINTHEALS, WHERE, "odd")] = broken
    said = text(page(seen_of(job.cluster), SCOPE, job.now))
    assert "! CheckpointHeal odd cannot be read: spec.selector" in said
    assert "CheckpointHeal training/demo" in said


def test_every_remedy_is_for_a_word_that_there_is():
    assert set(REMEDIES) <= {*map(str, Reason), *map(str, Cause)}
    assert remedy("SomethingNewer") == GENERIC


def test_every_cause_of_a_heal_has_a_remedy():
    assert {str(cause) for cause in Cause} <= set(REMEDIES)


@pytest.mark.parametrize("width", [80, 60])
def test_no_line_is_wider_than_the_terminal(width):
    job = receiving(replaced(healed(replaced(a_training_job())), "2/0"), 1 << 29)
    with_agents(job.cluster)
    said = drawn(page(seen_of(job.cluster), SCOPE, job.now), width)
    assert "\x1b[" in said
    assert max(len(line) for line in without_colours(said).splitlines()) <= width


def test_members_of_a_layout_that_was_never_seen_have_rows():
    policy = CheckpointHeal.model_validate(a_policy(layout={"replicas": 2, "ranks": 2}))
    said = text(page(Seen(policies=(policy,)), SCOPE, NOW))
    assert [line.split()[0] for line in said.splitlines() if "none  " in line] == ["0/0", "0/1", "1/0", "1/1"]


# The command.


def test_the_command_says_that_all_is_well_with_0(desktop: Desktop):
    desktop.has(a_training_job())
    ran = desktop.run("status")
    assert (ran.status, ran.err) == (0, "")
    assert "\x1b" not in ran.out
    assert "CheckpointHeal training/demo" in ran.out
    assert all(line == line.rstrip() for line in ran.out.splitlines())


def test_the_command_says_that_something_is_amiss_with_1(desktop: Desktop):
    desktop.has(replaced(a_training_job()))
    ran = desktop.run("status")
    assert ran.status == 1
    assert ran.out.startswith("! training/demo: not training")


def test_pods_are_asked_for_by_label_and_never_all_of_them(desktop: Desktop):
    desktop.has(a_training_job())
    desktop.run("status")
    asked = {labels for path, labels, _ in desktop.selected if path.endswith("/pods")}
    assert asked == {"checkpointheal.dev/inject=true", "app=demo"}


def test_all_namespaces_are_one_question(desktop: Desktop):
    desktop.has(a_training_job())
    ran = desktop.run("status", "-A")
    assert "CheckpointHeal training/demo" in ran.out
    assert "/apis/checkpointheal.dev/v1alpha1/checkpointheals" in {path for path, _, _ in desktop.selected}


def test_a_namespace_without_a_policy_says_what_to_apply(desktop: Desktop):
    ran = desktop.run("status")
    assert ran.status == 0
    assert "There is no CheckpointHeal in namespace training." in ran.out
    assert "kind: CheckpointHeal" in ran.out


@pytest.mark.parametrize("verb", ["status", "history", "watch", "report"])
def test_a_namespace_that_is_not_there_is_told_with_the_nearest(desktop: Desktop, verb: str):
    ran = desktop.run(verb, "-n", "trainin")
    assert (ran.status, ran.out) == (2, "")
    assert "there is no namespace trainin" in ran.err
    assert "did you mean training?" in ran.err


def test_without_the_definitions_it_says_how_to_install_them(desktop: Desktop):
    desktop.says("/checkpointheals", "404 page not found", 404)
    ran = desktop.run("status")
    assert ran.status == 1
    assert "CheckpointHeal is not installed" in ran.err
    assert "helm install" in ran.err


@pytest.mark.parametrize("plural", ["heals", "pods"])
def test_a_missing_right_is_named_and_the_rest_is_told(desktop: Desktop, plural: str):
    desktop.has(a_training_job())
    desktop.forbids(f"/{plural}")
    ran = desktop.run("status")
    assert ran.status == 2
    named = "pods" if plural == "pods" else "heals.checkpointheal.dev"
    assert f"! you may not list {named} in namespace training" in ran.out
    assert f"\n  -> kubectl auth can-i list {named} -n training tells when it is there\n" in ran.out
    row = next(line.split() for line in ran.out.splitlines() if line.strip().startswith("1/0"))
    assert row == (["1/0", "?", "-", "-", "-"] if plural == "pods" else ["1/0", "pod-1-0-2", "node-1", "running", "?"])
    assert "Training   yes" in ran.out
    assert "no pod" not in ran.out


def test_without_any_right_the_verb_is_named(desktop: Desktop):
    desktop.forbids("/checkpointheals")
    ran = desktop.run("status", "-A")
    assert (ran.status, ran.out) == (2, "")
    assert "you may not list checkpointheals.checkpointheal.dev in the whole cluster" in ran.err
    assert "or name one namespace with -n" in ran.err


def test_the_members_of_a_replica_are_counted_as_the_policy_says():
    job = a_training_job(2, 2)
    with_agents(job.cluster)
    assert [str(each) for each in (m("0/0"), m("0/1"), m("1/0"), m("1/1"))] == [
        line.split()[0] for line in text(page(seen_of(job.cluster), SCOPE, job.now)).splitlines() if "running" in line
    ]


def test_an_epoch_says_whom_it_is_without() -> None:
    left_out = [{"member": "1/0", "since": 7, "epoch": 2}, {"member": "2/0", "since": 7, "epoch": 2}]
    told = {"status": {"epoch": {"number": 2, "open": True, "step": 7, "leftOut": left_out}}}
    policy = CheckpointHeal.model_validate(a_policy() | told)
    assert epoch_told(policy, 0.0) == "epoch 2, from step 7, 0 members, without 1/0 and 2/0"
