"""The operator's process heals a job: real HTTP to the API server, to kopf's eyes, and from the agents."""

import asyncio
import gc
import json
import weakref
from collections.abc import Callable, Iterator

import pytest

from builders_api import WHERE, a_policy, pod_object
from builders_core import a_pod, a_report, m
from checkpointheal.contract.orders import Orders
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.injection_settings import INJECT
from checkpointheal_operator.gateway import app
from checkpointheal_operator.shell import keeping, our_kinds, pod_events, replica
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, EVENTS, PODS, Ref
from checkpointheal_operator.shell.leases import LEASES
from fake_api import pod_token
from replicas import POLICY, HttpSimulation, Stage


@pytest.fixture(autouse=True)
def _short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "POLL_SECONDS", 0.1)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as found:
        yield found


def trained(job: HttpSimulation, step: int = 5) -> None:
    job.go_until(lambda: job.is_training)
    job.train_to(step)


def assert_healed(job: HttpSimulation) -> None:
    assert job.steps == {5}
    verdicts = [next(c for c in heal.status.conditions if c.type == "Healed") for heal in job.heals]
    assert {(each.status, each.reason) for each in verdicts} == {("True", "Healed")}


def test_a_replaced_pod_is_healed(stage):
    job = HttpSimulation(stage)
    trained(job)
    job.replace_pod(m("1/0"))
    job.go_until(job.is_settled)
    assert_healed(job)
    assert [each.spec.recipient.pod for each in job.heals if each.spec.assignment] == [job.pods[m("1/0")].name]


@pytest.mark.parametrize(
    "apart", [{"where": "elsewhere"}, {"app": "other"}], ids=["in another namespace", "under another policy"]
)
def test_two_jobs_of_one_name_heal_at_the_same_time_and_each_from_its_own(stage, apart):
    """Their members are called the same, and in two namespaces their pods and heals' names could be too."""
    jobs = [HttpSimulation(stage), HttpSimulation(stage, **apart)]

    def all_go(true: Callable[[HttpSimulation], bool]) -> None:
        def went() -> bool:
            for job in jobs:
                job.go_round()
            return all(map(true, jobs))

        stage.until(went)

    all_go(lambda job: job.is_training)
    for job, step in zip(jobs, (5, 7), strict=True):
        job.train_to(step)
    jobs[1].kill_trainer(m("2/0"))
    all_go(lambda job: job.is_settled() and (job is jobs[0] or len(job.heals) > 0))
    for job in jobs:
        job.replace_pod(m("1/0"))
    all_go(lambda job: job.is_settled() and any(each.spec.assignment for each in job.heals))
    for job, other, step, epoch in zip(jobs, reversed(jobs), (5, 7), (2, 3), strict=True):
        assert job.steps == {step}, "nobody has another job's state"
        uids, theirs = ({pod.uid for pod in each.pods.values()} for each in (job, other))
        (healed,) = (each for each in job.heals if each.spec.assignment is not None)
        assert healed.spec.recipient.pod_uid in uids
        assert {each.pod_uid for each in healed.spec.assignment.donors} <= uids
        (policy,) = (
            each
            for each in stage.cluster.all(CHECKPOINTHEALS)
            if each["metadata"]["name"] == job.app and each["metadata"]["namespace"] == job.where
        )
        latest = policy["status"]["epoch"]
        assert {each["podUID"] for each in latest["members"]} == uids
        assert latest["number"] == epoch, "no epoch of the other's has closed one of its own"
        assert not any(uid in json.dumps(policy["status"]) for uid in theirs)


def test_a_leader_that_ends_in_mid_heal_is_followed_by_another_that_finishes_it(stage):
    job = HttpSimulation(stage)
    follower = stage.start("operator-1")
    trained(job)
    job.transfers_finish = False
    job.replace_pod(m("1/0"))
    job.go_until(lambda: any(pod.agent and pod.agent.fetching for pod in job.pods.values()))
    stage.stop("operator-0")
    job.replica, job.transfers_finish = follower, True
    job.go_until(job.is_settled)
    assert_healed(job)
    healed = [each for each in job.heals if each.spec.assignment]
    assert [each.spec.assignment.attempt for each in healed] == [healed[0].spec.assignment.attempt]


def test_a_lead_that_is_over_is_forgotten_before_the_next_one_with_all_that_it_knew(stage):
    """aiohttp kept the handlers of the gateway that had ended, and with them the operator, its jobs and its reports.

    What refers to itself lay there besides, until the collector came by, while as much was read anew.
    """
    job = HttpSimulation(stage)
    trained(job)
    led = weakref.ref(job.replica.operator)
    lease = Ref(LEASES, "system", "checkpointheal")
    taken = stage.cluster.objects[lease] | {"spec": {"holderIdentity": "somebody/127.0.0.9"}}
    gc.disable()
    try:
        stage.call(lambda: stage.cluster.put(LEASES, taken))
        stage.until(lambda: job.replica.operator is None)
        stage.until(lambda: job.replica.operator is not None)
        assert led() is None
    finally:
        gc.enable()


def test_a_replica_gives_memory_back_again_and_again_whether_or_not_it_leads(stage, monkeypatch):
    given = list[str]()
    monkeypatch.setattr(replica, "TIDIES_EVERY", 0.01)
    monkeypatch.setattr(replica, "give_back", lambda: given.append("some"))
    stage.start("operator-0")
    stage.until(lambda: len(given) > 2)


def test_a_pod_that_loses_its_opt_in_label_ends_nothing_under_whoever_leads_and_is_named(stage):
    job = HttpSimulation(stage)
    follower = stage.start("operator-1")
    trained(job)
    hidden = job.pods[m("1/0")]

    def is_named() -> bool:
        job.go_round()
        (policy,) = stage.cluster.all(CHECKPOINTHEALS)
        assert policy["status"]["epoch"]["open"], policy["status"]["epoch"]["message"]
        told = {each["message"] for each in policy["status"]["conditions"] if each["reason"] == "LayoutDiffers"}
        return any(f"pod {hidden.name} holds 1/0 in epoch 1, and its label {INJECT}" in each for each in told)

    stage.call(lambda: stage.cluster.hide(Ref(PODS, WHERE, hidden.name), INJECT))
    stage.until(is_named)
    stage.stop("operator-0")
    stage.call(lambda: stage.cluster.objects[POLICY]["status"].update(conditions=[]))
    job.replica = follower
    stage.until(is_named)
    assert job.is_training


def test_the_pod_of_a_second_job_under_one_policy_is_told_whose_the_policy_is(stage, monkeypatch):
    monkeypatch.setattr(pod_events, "ALONE_AFTER", 0.1)
    monkeypatch.setattr(pod_events, "ROUND_EVERY", 0.1)
    job = HttpSimulation(stage)
    trained(job)
    body = json.loads(json.dumps(pod_object(a_pod(m("0/0"), name="second-0", uid="second"), job="second")))
    stage.call(lambda: stage.cluster.put(PODS, body))
    stage.api.tokens["second"] = pod_token(WHERE, "second-0", "second")
    report = a_report(m("0/0"), 0, pod="second-0", pod_uid="second", job="second").model_dump_json()

    def is_told() -> bool:
        job.exchange("second", "POST", "/v1/report", report)
        said = job.exchange("second", "GET", "/v1/orders?seen=-1", None)
        return said is not None and Orders.model_validate_json(said).reason == "OtherJob"

    stage.until(is_told)
    stage.until(lambda: [each["reason"] for each in stage.cluster.all(EVENTS)] == ["OtherJob"])
    stage.call(lambda: stage.cluster.remove(POLICY))
    stage.until(lambda: not is_told())


def test_agents_reach_the_leader_through_a_follower(stage):
    job = HttpSimulation(stage)
    leader, job.replica = job.replica, stage.start("operator-1")
    trained(job)
    assert leader.operator is not None
    assert job.replica.operator is None


def test_nobody_speaks_for_another_pod_and_a_stranger_for_none(stage):
    job = HttpSimulation(stage)
    trained(job)
    mine, other = (job.pods[m(each)] for each in ("0/0", "1/0"))
    job.refused.clear()
    report = other.agent.report().model_dump_json()
    for token in (mine.uid, "a stranger's"):
        assert job.exchange(token, "POST", "/v1/report", report) is None
    assert job.refused == [403, 401]


def test_a_pod_whose_policy_is_gone_is_told_so(stage):
    job = HttpSimulation(stage)
    trained(job)
    stage.call(lambda: stage.cluster.remove(POLICY))
    job.go_until(lambda: all(each == Orders(revision=1, withdrawn=True) for each in job.ordered.values()))


def test_a_policy_that_cannot_be_read_keeps_no_pod_of_another_namespace_from_that_word(stage):
    policy = a_policy()
    policy["metadata"] = policy["metadata"] | {"namespace": "elsewhere"}
    stage.call(lambda: stage.cluster.put(CHECKPOINTHEALS, policy))
    stage.cluster.objects[Ref(CHECKPOINTHEALS, "elsewhere", POLICY.name)]["spec"] = {}  # as of another version of us
    job = HttpSimulation(stage)
    stage.call(lambda: stage.cluster.remove(POLICY))
    job.go_until(lambda: len(job.ordered) == 3 and all(each.withdrawn for each in job.ordered.values()))


def test_a_policy_that_comes_after_its_pods_is_soon_enough(stage):
    job = HttpSimulation(stage)
    stage.call(lambda: stage.cluster.remove(POLICY))
    job.go_until(lambda: len(job.ordered) == 3 and all(each.withdrawn for each in job.ordered.values()))
    job.apply_policy()
    trained(job)


def test_a_held_job_goes_on_as_soon_as_its_policy_lets_it(stage):
    job = HttpSimulation(stage)
    job.apply_policy(fallback="Hold")
    trained(job)
    for member in job.pods:
        job.replace_pod(member)
    job.go_until(lambda: all(pod.agent and pod.agent.orders.reason == "Held" for pod in job.pods.values()))
    job.go_until(lambda: all(pod.trainer and pod.trainer.held for pod in job.pods.values()))
    job.go_until(lambda: [each["reason"] for each in stage.cluster.all(EVENTS)] == ["Held"] * 3)
    (policy,) = stage.cluster.all(CHECKPOINTHEALS)
    freed = policy | {"spec": policy["spec"] | {"fallback": "Checkpoint"}}
    stage.call(lambda: stage.cluster.put(CHECKPOINTHEALS, freed))
    job.go_until(job.is_settled)
    assert job.is_training
    assert job.steps == {0}


def test_a_stream_of_kopfs_that_breaks_stops_no_healing(stage, monkeypatch):
    monkeypatch.setattr(our_kinds, "SWEEP_EVERY", 0.2)
    monkeypatch.setattr(our_kinds, "AGAIN_AFTER", 0.1)
    stage.api.faults[CHECKPOINTHEALS.plural].append("error")
    job = HttpSimulation(stage)
    trained(job)
    job.stage.until(lambda: not stage.api.faults[CHECKPOINTHEALS.plural])
    stage.call(lambda: stage.cluster.remove(POLICY))
    job.go_until(lambda: all(each.withdrawn for each in job.ordered.values()))


def test_a_policy_that_was_deleted_while_kopf_did_not_hear_is_found_gone(stage, monkeypatch):
    monkeypatch.setattr(our_kinds, "SWEEP_EVERY", 0.2)
    stage.api.faults[CHECKPOINTHEALS.plural].append("stall")
    job = HttpSimulation(stage)
    trained(job)
    stage.call(lambda: stage.cluster.remove(POLICY))
    job.go_until(lambda: all(each.withdrawn for each in job.ordered.values()))


def test_probes_tell_health_and_readiness_of_leader_and_follower_alike(stage):
    stage.start("operator-0")
    stage.start("operator-1")
    for name in ("operator-0", "operator-1"):
        stage.until(lambda name=name: stage.probe(name, "/readyz") == 200)
        assert stage.probe(name, "/healthz") == 200


def test_a_replica_whose_api_is_silent_for_long_is_not_healthy(stage, monkeypatch):
    stage.start("operator-0")
    monkeypatch.setattr(replica, "STUCK_AFTER", -1.0)
    assert stage.probe("operator-0", "/healthz") == 503


def counted(stage: Stage, name: str) -> dict[str, float]:
    """All of a replica's metrics, as whoever reads them would."""
    status, text = stage.page(name, "/metrics")
    assert status == 200
    rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in rows}


HEALED = 'checkpointheal_heals_total{cause="Replaced",result="Healed",rung="Peer"}'


def test_a_heal_is_counted_by_the_replica_that_concluded_it_and_by_no_other(stage):
    job = HttpSimulation(stage)
    follower = stage.start("operator-1")
    trained(job)
    job.replace_pod(m("1/0"))
    job.go_until(job.is_settled)
    first = counted(stage, "operator-0")
    assert (first[HEALED], first["checkpointheal_leader"], first["checkpointheal_leaderships_total"]) == (1, 1, 1)
    assert (first["checkpointheal_jobs"], first["checkpointheal_jobs_standing_still"]) == (1, 0)
    assert first["checkpointheal_agents_heard"] >= 3
    assert first['checkpointheal_watched_objects{kind="pods"}'] == 3
    assert first['checkpointheal_api_writes_total{kind="Heal",outcome="ok",verb="create"}'] >= 1
    assert first['checkpointheal_agent_requests_total{path="/v1/report",status="200"}'] > 0
    assert first['checkpointheal_token_reviews_total{outcome="a pod\'s"}'] >= 3
    second = counted(stage, "operator-1")
    assert second[HEALED] == 0
    assert (second["checkpointheal_leader"], second["checkpointheal_jobs"]) == (0, 0)
    stage.stop("operator-0")
    job.replica = follower
    stage.until(lambda: follower.operator is not None)
    job.replace_pod(m("2/0"))
    job.go_until(job.is_settled)
    second = counted(stage, "operator-1")
    assert (second[HEALED], second["checkpointheal_leader"]) == (1, 1)


def test_the_log_tells_a_heals_story_in_order(stage, caplog):
    caplog.set_level("INFO", logger="checkpointheal.operator")
    job = HttpSimulation(stage)
    trained(job)
    job.replace_pod(m("1/0"))
    caplog.clear()
    job.go_until(job.is_settled)
    (heal,) = (each for each in job.heals if each.spec.recipient.pod == job.pods[m("1/0")].name)
    told = [(record.getMessage(), record.about) for record in caplog.records if hasattr(record, "about")]
    words = [message.split()[0] for message, about in told if about.get("heal") == heal.metadata.name]
    story = list(dict.fromkeys(word for word in words if word != "Wait"))
    assert story == ["OpenHeal", "Assign", "1/0", "Conclude"]
    before = [message for message, about in told if message.startswith("EndEpoch")]
    assert "(PodReplaced): the pod of 1/0 was replaced" in before[0]
    assert all({"namespace", "policy", "job", "reason"} <= set(about) for _, about in told if "heal" in about)
    attempts = [about.get("attempt") for message, about in told if message.startswith(("Assign", "Conclude 1/0"))]
    assert heal.spec.assignment is not None
    assert attempts == [*range(1, heal.spec.assignment.attempt + 1), heal.spec.assignment.attempt]


def test_a_pod_that_slipped_past_the_webhook_is_told_of_and_left_alone(stage):
    job = HttpSimulation(stage)
    trained(job)
    bare = pod_object(a_pod(m("3/0")))
    bare["spec"]["initContainers"] = []
    stage.call(lambda: stage.cluster.put(PODS, bare))
    stage.until(lambda: bool(events(stage, "NotInjected")))
    (told,) = events(stage, "NotInjected")
    assert told["involvedObject"]["name"] == bare["metadata"]["name"]
    assert stage.call(lambda: Ref(PODS, WHERE, bare["metadata"]["name"]) in stage.cluster.objects)


def events(stage: Stage, reason: str) -> list[Json]:
    return [each for each in stage.call(lambda: stage.cluster.all(EVENTS)) if each["reason"] == reason]


def test_a_second_policy_over_the_same_pods_says_that_it_does_nothing_and_the_first_heals_on(stage):
    job = HttpSimulation(stage)
    trained(job)
    second = a_policy() | {"metadata": {"name": "second", "namespace": WHERE}}
    stage.call(lambda: stage.cluster.put(CHECKPOINTHEALS, second))
    ref = Ref(CHECKPOINTHEALS, WHERE, "second")

    def conditions() -> dict[str, str]:
        found = stage.call(lambda: stage.cluster.objects[ref].get("status", {}).get("conditions", []))
        return {each["type"]: each["status"] for each in found}

    stage.until(lambda: conditions() == {"Conflicting": "True"})
    job.replace_pod(m("1/0"))
    job.go_until(job.is_settled)
    assert_healed(job)


def test_a_leader_one_of_whose_keepers_stands_still_is_not_healthy(stage, monkeypatch):
    held = asyncio.Event()
    standing = False

    async def stand_still(*_: object, **__: object) -> None:
        nonlocal standing
        standing = True
        await held.wait()

    monkeypatch.setattr(keeping, "look", stand_still)
    HttpSimulation(stage)
    stage.until(lambda: standing)
    assert stage.probe("operator-0", "/healthz") == 200
    monkeypatch.setattr(replica, "STUCK_AFTER", 0.5)
    stage.until(lambda: stage.probe("operator-0", "/healthz") == 503)


def test_kopf_needs_no_name_of_a_user_which_a_container_does_not_have(stage, monkeypatch):
    def nobody() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr(our_kinds, "FIRST_SWEEP", 60.0)
    job = HttpSimulation(stage)
    trained(job)
