"""`explain POD`: its agent, its place, its policy, and why its latest heal was as it was."""

import pytest

from builders_api import WHERE, a_policy
from builders_core import m
from builders_plugin import (
    NOW,
    POLICY,
    Desktop,
    a_training_job,
    an_event,
    drawn,
    healed,
    receiving,
    replaced,
    seen_of,
    text,
    with_agents,
    without_colours,
)
from builders_seats import Seated
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.plugin.explaining import nearest, page, unmet
from checkpointheal_operator.plugin.heal_words import candidates, going, outcome, summary, timeline, timings
from checkpointheal_operator.plugin.seen import Seen, written
from checkpointheal_operator.shell.cluster import HEALS, PODS, Ref
from cluster_simulation import ClusterSimulation


def pod_of(job: ClusterSimulation, member: str) -> Json:
    return job.cluster.objects[Ref(PODS, WHERE, job.pods[m(member)].name)]


def told(job: ClusterSimulation, member: str, *events: Json) -> str:
    with_agents(job.cluster)
    return text(page(pod_of(job, member), seen_of(job.cluster), events, job.now))


def line(said: str, head: str) -> str:
    return next(each.strip().removeprefix(head).strip() for each in said.splitlines() if each.strip().startswith(head))


def heal_of(job: ClusterSimulation) -> Heal:
    return Heal.model_validate(job.cluster.all(HEALS)[-1])


def test_a_pod_says_its_agent_its_place_and_its_policy():
    said = told(a_training_job(), "1/0")
    assert line(said, "state") == "Running on node node-1"
    assert line(said, "opted in") == "yes"
    assert line(said, "agent") == "running; injected by build 0.1.0 beside container trainer"
    assert line(said, "place") == "member 1/0 of job demo, by its annotations"
    assert line(said, "policy") == "demo: epoch 1 for 2s, 3 members"
    assert line(said, "in epoch") == "yes, as 1/0, with a state from Fresh"
    assert said.endswith("No heal was ever opened for pod-1-0-2, or it is no longer kept.\n")


def test_a_heal_is_told_from_its_cause_to_its_verdict():
    said = told(healed(replaced(a_training_job())), "1/0")
    assert line(said, "cause").startswith("Replaced: ")
    assert line(said, "verdict") == "healed (Healed): 1/0 trains in epoch 2; from pod-0-0-1 at step 5"
    assert (
        line(said, "in epoch")
        == "yes, as 1/0, with a state from Peer, and its first 8 steps are compared with its peers'"
    )
    assert line(said, "assignment") == ("attempt 1: step 5 from pod-0-0-1, because 1/0 holds no usable state of step 5")
    assert line(said, "timings").endswith("3.5s in all")


def test_every_candidate_has_one_sentence():
    said = told(receiving(replaced(a_training_job()), 0), "1/0")
    assert [each.strip() for each in said.splitlines() if each.startswith("    - ")] == [
        "- pod-0-0-1: gives; 0/0 may give step 5; rank 1",
        "- pod-2-0-3: takes over if the one before it is lost; 2/0 may give step 5; rank 2",
        "- not pod-1-0-10: SameMember, 1/0 is the recipient itself",
    ]


def test_of_a_heal_that_was_over_in_a_moment_the_refusals_are_told_as_they_stood_at_its_assignment():
    job = healed(replaced(a_training_job()))
    refused = "not pod-1-0-10: SameMember, 1/0 is the recipient itself"
    assert f"- {refused}" in told(job, "1/0")
    assert refused in candidates(unassigned(heal_of(job))), "in the result too"


def unassigned(heal: Heal) -> Heal:
    return heal.model_copy(update={"spec": heal.spec.model_copy(update={"assignment": None})})


def test_a_heal_of_an_operator_that_kept_no_refusals_says_so():
    heal = heal_of(healed(replaced(a_training_job())))
    assert heal.spec.assignment is not None
    assigned = heal.spec.assignment.model_copy(update={"candidates": ()})
    spec = heal.spec.model_copy(update={"assignment": assigned})
    old = Heal(metadata=heal.metadata, spec=spec, status=heal.status.model_copy(update={"candidates": ()}))
    assert "why nobody else was chosen was not kept: an older operator assigned it" in candidates(old)


def test_refusals_beyond_the_told_ones_are_counted_by_reason():
    heal = unassigned(heal_of(healed(replaced(a_training_job()))))
    status = heal.status.model_copy(update={"more_candidates": {"HeartbeatStale": 9}})
    assert "not 9 more: HeartbeatStale" in candidates(heal.model_copy(update={"status": status}))


def test_an_open_heal_tells_how_far_it_is():
    job = receiving(replaced(a_training_job()), 1 << 29)
    said = told(job, "1/0")
    assert line(said, "verdict") == "none yet: receives step 5 from pod-0-0-1, 25% of 2.0 GiB (attempt 1)"
    assert outcome(heal_of(job)) == "open"
    assert [name for name, _ in timings(heal_of(job))] == ["restart", "choose"]


def test_a_heal_that_fell_back_says_so():
    heal = heal_of(healed(replaced(a_training_job())))
    verdict = {"status": "False", "reason": str(Reason.FELL_BACK), "message": "1/0 trains, but not from memory"}
    conditions = tuple(c.model_copy(update=verdict) if c.type == "Healed" else c for c in heal.status.conditions)
    status = heal.status.model_copy(update={"conditions": conditions, "rung": "Checkpoint"})
    fallen = heal.model_copy(update={"status": status})
    assert outcome(fallen) == "fell back"
    assert summary(fallen, NOW).startswith("fell back to Checkpoint in 3.5s")


@pytest.mark.parametrize("reason", ["RecipientGone", "AskedAgain"])
def test_a_heal_that_nobody_wants_any_more_was_dropped(reason):
    heal = heal_of(healed(replaced(a_training_job())))
    verdict = {"status": "False", "reason": reason}
    conditions = tuple(c.model_copy(update=verdict) if c.type == "Healed" else c for c in heal.status.conditions)
    dropped = heal.model_copy(update={"status": heal.status.model_copy(update={"conditions": conditions})})
    assert outcome(dropped) == "dropped"
    assert reason in summary(dropped, NOW)


def test_a_heal_without_an_assignment_or_status_can_be_told():
    heal = heal_of(healed(replaced(a_training_job())))
    bare = Heal(metadata=heal.metadata, spec=heal.spec.model_copy(update={"assignment": None}))
    assert going(bare) == "no donor is assigned yet"
    assert list(candidates(bare)) == []
    assert timeline(bare).startswith("restart ")


def test_an_attempt_that_failed_says_why():
    job = receiving(replaced(a_training_job()), 10)
    heal = heal_of(job)
    assert heal.status.transfer is not None
    failed = heal.status.transfer.model_copy(update={"state": "failed", "reason": "PeerLost", "message": "it is gone"})
    status = heal.status.model_copy(update={"transfer": failed})
    assert going(heal.model_copy(update={"status": status})) == "attempt 1 failed: PeerLost it is gone"


def test_a_superseded_pod_names_its_successor():
    job = a_training_job()
    old = pod_of(job, "1/0")
    job.replace_pod(m("1/0"))
    job.now += 5
    job.pods[m("1/0")].born = job.now
    job.go_round()
    job.cluster.objects[Ref(PODS, WHERE, old["metadata"]["name"])] = old
    with_agents(job.cluster)
    said = text(page(old, seen_of(job.cluster), (), job.now))
    assert line(said, "place").endswith(f"superseded by pod {job.pods[m('1/0')].name}")


def test_a_pod_that_nobody_selects_is_compared_with_each_selector():
    job = a_training_job()
    pod = pod_of(job, "1/0")
    pod["metadata"]["labels"]["app"] = "demo2"
    said = text(page(pod, seen_of(job.cluster), (), job.now))
    assert "no CheckpointHeal selects it: nobody answers its restore()" in said
    assert "-> demo wants app=demo, the pod has app=demo2" in said


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ({"key": "tier", "operator": "In", "values": ["a", "b"]}, "tier In a, b, the pod has no tier"),
        ({"key": "app", "operator": "NotIn", "values": ["demo"]}, "app NotIn demo, the pod has app=demo"),
        ({"key": "tier", "operator": "Exists"}, "tier Exists, the pod has no tier"),
        ({"key": "app", "operator": "DoesNotExist"}, "app DoesNotExist, the pod has app=demo"),
    ],
)
def test_the_requirement_that_is_not_met_is_named(expression, says):
    policy = CheckpointHeal.model_validate(a_policy(selector={"matchExpressions": [expression]}))
    assert unmet(policy, pod_of(a_training_job(), "1/0")) == says


def test_a_selector_is_written_as_the_server_reads_it():
    expressions = [
        {"key": "a", "operator": "In", "values": ["x", "y"]},
        {"key": "b", "operator": "NotIn", "values": ["x"]},
        {"key": "c", "operator": "Exists"},
        {"key": "d", "operator": "DoesNotExist"},
    ]
    said = {"matchLabels": {"app": "demo"}, "matchExpressions": expressions}
    policy = CheckpointHeal.model_validate(a_policy(selector=said))
    assert written(policy.spec.selector) == "app=demo,a in (x,y),b notin (x),c,!d"


def test_without_any_policy_it_says_what_to_apply():
    job = a_training_job()
    said = text(page(pod_of(job, "1/0"), Seen(pods=seen_of(job.cluster).pods), (), job.now))
    assert "-> apply a CheckpointHeal whose spec.selector.matchLabels are labels of the job's pods" in said


def test_of_a_policy_that_cannot_be_read_nobody_is_told_to_apply_another():
    job = a_training_job()
    spec = job.cluster.objects[POLICY]["spec"]
    spec["fallback"] = "Newer"
    said = told(job, "1/0")
    assert "! CheckpointHeal demo cannot be read: spec.fallback" in said
    assert line(said, "policy") == "demo selects it, and cannot be read"
    assert "apply a CheckpointHeal" not in said
    spec["selector"] = {"matchLabels": {"app": "other"}}
    assert line(told(job, "1/0"), "policy") == "no CheckpointHeal selects it: nobody answers its restore()"
    spec["selector"] = 3
    assert line(told(job, "1/0"), "policy") == "demo may select it, and cannot be read"


def test_of_heals_that_cannot_be_read_it_is_not_said_that_there_was_none():
    job = healed(replaced(a_training_job()))
    job.cluster.all(HEALS)[-1]["spec"]["cause"] = "Newer"
    said = told(job, "1/0")
    assert "cannot be read: spec.cause" in said
    assert said.endswith("Whether a heal was opened for pod-1-0-10 cannot be told: not all could be read.\n")


def test_a_pod_without_a_place_says_why():
    job = a_training_job()
    pod_of(job, "1/0")["metadata"]["annotations"].clear()
    said = text(page(pod_of(job, "1/0"), seen_of(job.cluster), (), job.now))
    assert line(said, "place").startswith("not known: nothing on the pod tells its place")


def test_events_are_told_latest_last():
    job = a_training_job()
    pod = pod_of(job, "1/0")
    said = told(
        job,
        "1/0",
        an_event(pod, "Later", "second", "2027-01-15T08:00:01Z"),
        an_event(pod, "Sooner", "first", "2027-01-15T08:00:00Z"),
    )
    assert said.splitlines()[-2:] == ["      2s ago  Sooner: first", "      1s ago  Later: second"]


@pytest.mark.parametrize(
    ("asked", "found"), [("pod-1", ("pod-1-0",)), ("pod-1-1", ("pod-1-0", "pod-2-0")), ("zzz", ())]
)
def test_names_that_are_near_are_found(asked, found):
    assert nearest(asked, ["pod-1-0", "pod-2-0", "other"]) == found


def test_it_fits_a_narrow_terminal():
    job = receiving(replaced(healed(replaced(a_training_job())), "2/0"), 1 << 29)
    with_agents(job.cluster)
    said = drawn(page(pod_of(job, "2/0"), seen_of(job.cluster), (), job.now))
    assert max(map(len, without_colours(said).splitlines())) <= 80


# The command.


@pytest.mark.parametrize("called", ["pod-1-0-10", "pod/pod-1-0-10"])
def test_the_command_explains_a_pod(desktop: Desktop, called: str):
    desktop.has(healed(replaced(a_training_job())))
    ran = desktop.run("explain", called)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("Pod training/pod-1-0-10\n")
    assert "healed (Healed)" in ran.out
    assert "Healed: 1/0 trains in epoch 2" in ran.out, "the verdict's Event is told too"


def test_the_command_says_that_something_is_amiss_with_1(desktop: Desktop):
    desktop.has(a_training_job(), "pod-1-0-2")
    ran = desktop.run("explain", "pod-1-0-2")
    assert "! pod pod-1-0-2 opted in, but no agent is in it" in ran.out
    assert ran.status == 1


def test_heals_that_may_not_be_listed_are_not_called_none(desktop: Desktop):
    desktop.has(healed(replaced(a_training_job())))
    desktop.forbids("/heals")
    ran = desktop.run("explain", "pod-1-0-10")
    assert ran.status == 2
    assert "\n    -> kubectl auth can-i list heals.checkpointheal.dev -n training tells when it is there\n" in ran.out
    assert "Whether a heal was opened for pod-1-0-10 cannot be told" in ran.out


def test_an_unknown_pod_is_told_with_the_nearest(desktop: Desktop):
    desktop.has(a_training_job())
    ran = desktop.run("explain", "pod-1")
    assert ran.status == 1
    assert "there is no pod pod-1 in namespace training" in ran.err
    assert "-> did you mean pod-1-0-2?" in ran.err


def test_a_pod_of_another_namespace_is_found_there(desktop: Desktop):
    desktop.has(a_training_job())
    ran = desktop.run("explain", "pod-1-0-2", "-n", "elsewhere")
    assert ran.status == 1
    assert "there is one in namespace training: add -n training" in ran.err


def test_the_right_that_is_missing_for_the_pod_is_named(desktop: Desktop):
    desktop.forbids("/pods/pod-1-0-2")
    ran = desktop.run("explain", "pod-1-0-2")
    assert ran.status == 2
    assert "you may not get pods in namespace training" in ran.err


def test_events_that_may_not_be_read_are_left_out(desktop: Desktop):
    desktop.has(healed(replaced(a_training_job())))
    desktop.forbids("/events")
    ran = desktop.run("explain", "pod-1-0-10")
    assert ran.status == 0
    assert "Events" not in ran.out
    fields = [fields for path, _, fields in desktop.selected if path.endswith("/events")]
    assert fields == ["involvedObject.kind=Pod,involvedObject.name=pod-1-0-10"]


def a_seated_job() -> Seated:
    """Two pods of two seats; the second pod was replaced, and both its seats were healed."""
    job = Seated(4)
    job.go_on()
    job.train_to(5)
    job.lose_pod(1)
    job.go_on()
    with_agents(job.cluster)
    return job


def test_a_pod_of_several_seats_says_all_that_sit_in_it():
    job = a_seated_job()
    said = text(page(job.cluster.objects[Ref(PODS, WHERE, "trainer-1")], seen_of(job.cluster), (), job.now))
    assert line(said, "place") == "members 2/0 to 3/0 of job demo, by its annotations"
    assert line(said, "in epoch").startswith("yes, as 2/0 and 3/0, with a state from Peer")
    assert "superseded" not in said


@pytest.mark.parametrize(("asked", "healed_seat"), [("trainer-1/0", "2/0"), ("pod/trainer-1/1", "3/0")])
def test_of_a_seat_its_own_latest_heal_is_told(desktop: Desktop, asked: str, healed_seat: str):
    desktop.has(a_seated_job())
    ran = desktop.run("explain", asked)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("Pod training/trainer-1\n")
    assert "the latest of" not in ran.out
    assert f"{healed_seat} asks for a state" in ran.out


def test_every_seat_has_a_row_and_heals_are_found_by_seat_and_by_pod(desktop: Desktop):
    desktop.has(a_seated_job())
    rows = [each.split()[:4] for each in desktop.run("status").out.splitlines()]
    seats = ("trainer-0/0", "trainer-0/1", "trainer-1/0", "trainer-1/1")
    for replica, seat in enumerate(seats):
        assert [f"{replica}/0", seat, "node-n", "running"] in rows
    found = {pod: desktop.run("history", "--pod", pod).out for pod in ("trainer-1", "trainer-1/1", "trainer-2")}
    assert found["trainer-1"].count("Replaced") == 2
    assert found["trainer-1/1"].count("Replaced") == 1
    assert "There is no such heal" in found["trainer-2"]
