"""A pod that nothing protects has one Event that says why and what helps, and nothing else is done to it."""

import asyncio
from collections.abc import Callable

import pytest

from builders_api import WHERE, a_policy, pod_object
from builders_core import NOW, a_pod, a_report, heard, m
from checkpointheal.contract.report import Flaw, TrainerFacts
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.facts import Heard, Stranger
from checkpointheal_operator.core.injection_parts import AGENT
from checkpointheal_operator.measures.operating import OperatorMetrics
from checkpointheal_operator.shell import pod_events
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, EVENTS, PODS, Refused, Unreachable
from checkpointheal_operator.shell.look import Surroundings
from checkpointheal_operator.shell.mirror import Mirror
from checkpointheal_operator.shell.pod_events import ALONE_AFTER, AT_WORK, ROUND_EVERY, Known, PodEvents
from checkpointheal_operator.shell.slim import slim_pod
from fake_cluster import FakeCluster


class Desk:
    """A leader's, over mirrors that hold what it is given."""

    def __init__(self, cluster: FakeCluster | None = None) -> None:
        self.cluster, self.now, self.metrics = cluster or FakeCluster(), 0.0, OperatorMetrics()
        self.mirrors = {CHECKPOINTHEALS: Mirror(lambda *_: None), PODS: Mirror(lambda *_: None, slim_pod)}
        self.passed_over: set[str] = set()
        around = Surroundings(self.cluster, lambda: NOW + self.now, self.metrics, serves=self._serves)
        self.heard: list[Heard] = []
        self.asked = 0
        self.strangers: list[Stranger] = []
        self.events = PodEvents(around, self.mirrors, Known(self._hear, lambda: self.strangers), lambda: self.now)

    def _serves(self, namespace: str) -> bool:
        return namespace not in self.passed_over

    def add_policy(self) -> None:
        self.mirrors[CHECKPOINTHEALS].put(self.cluster.put(CHECKPOINTHEALS, a_policy()))

    def add_pod(self, member: str = "0/0", change: Callable[[Json], object] = lambda _pod: None) -> str:
        pod = pod_object(a_pod(m(member)))
        change(pod)
        self.mirrors[PODS].put(self.cluster.put(PODS, pod))
        self.events.notice(WHERE)
        return str(pod["metadata"]["uid"])

    def after(self, seconds: float) -> list[tuple[str, str]]:
        """Which pod was told what, by then."""
        self.now += seconds
        asyncio.run(self.events.look())
        return [(each["involvedObject"]["uid"], each["reason"]) for each in self.cluster.all(EVENTS)]

    def _hear(self) -> list[Heard]:
        self.asked += 1
        return self.heard

    def troubled(self, reason: str) -> float | None:
        return self.metrics.registry.get_sample_value("checkpointheal_pods_in_trouble", {"reason": reason})


def without_agent(pod: Json) -> None:
    pod["spec"]["initContainers"] = []


def without_image(pod: Json) -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff"}}
    pod["status"]["initContainerStatuses"] = [{"name": AGENT, "image": "registry/agent:1", "state": waiting}]


def that_was_out_of_memory(pod: Json) -> None:
    last = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    pod["status"]["initContainerStatuses"] = [
        {"name": AGENT, "image": "i", "state": {"running": {}}, "lastState": last}
    ]


@pytest.mark.parametrize(
    ("change", "reason"), [(without_agent, "NotInjected"), (without_image, "AgentImageUnavailable")]
)
def test_a_pod_whose_agent_is_not_at_work_is_told_once_as_a_warning(change, reason):
    desk = Desk()
    desk.add_policy()
    uid = desk.add_pod("0/0", change)
    for seconds in (0, 1, ROUND_EVERY):
        assert desk.after(seconds) == [(uid, reason)]
    (told,) = desk.cluster.all(EVENTS)
    assert (told["type"], told["metadata"]["name"]) == ("Warning", f"pod-{uid}.{reason.lower()}")
    assert told["involvedObject"]["name"] == "pod-0-0"
    assert desk.cluster.calls == [("create", "events")], "nothing but a create, and one of them"
    assert desk.troubled(reason) == 1


def test_a_pod_that_was_refused_is_told_why_though_the_mirror_keeps_little_of_it():
    desk = Desk()
    desk.add_policy()
    refused = {"containers": [{"name": "a"}, {"name": "b"}]}
    desk.add_pod("0/0", lambda pod: pod.update(spec=refused))
    desk.after(0)
    (told,) = desk.cluster.all(EVENTS)
    assert told["reason"] == "NotInjected"
    assert "TrainerAmbiguous: none of a, b asks for an accelerator" in told["message"]


def test_a_pod_in_good_order_is_told_nothing():
    desk = Desk()
    desk.add_policy()
    desk.add_pod()
    assert desk.after(1000) == []
    assert desk.cluster.calls == []


NEEDS = Flaw(reason="ArenaDoesNotFit", message="needs more", arena_bytes=(530 << 20) - 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"flaws": (NEEDS,), "conditions": ("ArenaDoesNotFit",)}, ["ArenaDoesNotFit"], id="a flaw"),
        pytest.param({"conditions": ("ArenaDoesNotFit",)}, ["ArenaDoesNotFit"], id="an older agent's word"),
        pytest.param({"flaws": (NEEDS, Flaw(reason="Z"))}, ["ArenaDoesNotFit", "Unprotected"], id="an unknown word"),
        pytest.param({"conditions": ("NoPolicy",)}, [], id="what the operator knows better"),
        pytest.param({"flaws": (NEEDS,), "trainer": TrainerFacts(state="done")}, [], id="one that is done"),
        pytest.param({}, [], id="nothing"),
    ],
)
def test_a_pod_whose_agent_says_why_it_is_not_protected_is_told_once(changes, told):
    desk = Desk()
    desk.add_policy()
    uid = desk.add_pod()
    desk.heard = [heard(a_report(m("0/0"), 10, pod_uid=uid, **changes))]
    for seconds in (0, 1, ROUND_EVERY):
        assert desk.after(seconds) == [(uid, reason) for reason in told]
    if "flaws" in changes and told:
        assert desk.cluster.all(EVENTS)[0]["message"] == (
            "pod pod-0-0 is not protected: its state does not fit into its arena: "
            "annotate its pod template with checkpointheal.dev/arena-size: 530Mi"
        )


def test_of_a_pod_at_its_end_no_flaw_is_told():
    desk = Desk()
    desk.add_policy()
    uid = desk.add_pod("0/0", lambda pod: pod["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"))
    desk.heard = [heard(a_report(m("0/0"), 10, pod_uid=uid, flaws=(NEEDS,)))]
    assert desk.after(0) == []


def test_the_next_leader_finds_it_told():
    first = Desk()
    uid = first.add_pod("0/0", without_agent)
    first.after(0)
    second = Desk(first.cluster)
    second.mirrors[PODS].put(first.cluster.all(PODS)[0])
    assert second.after(0) == [(uid, "NotInjected")]
    assert second.after(ROUND_EVERY) == [(uid, "NotInjected")]
    assert second.cluster.calls == [("create", "events")] * 2, "it asked once, and was answered that it is there"


def test_a_pod_that_no_policy_selects_is_told_when_none_has_come_for_a_while():
    desk = Desk()
    uid = desk.add_pod()
    assert desk.after(0) == []
    assert desk.after(ALONE_AFTER - 1) == []
    assert desk.after(ROUND_EVERY) == [(uid, "NoPolicy")]
    assert desk.troubled("NoPolicy") == 1
    desk.add_policy()
    desk.after(ROUND_EVERY)
    assert desk.troubled("NoPolicy") is None


def test_a_pod_of_another_job_than_its_policys_is_told_when_it_has_been_one_for_a_while():
    desk = Desk()
    desk.add_policy()
    uid = desk.add_pod()
    desk.strangers = [Stranger(pod=a_pod(m("0/0"), uid=uid), job="second", ours="first")]
    assert desk.after(0) == []
    assert desk.after(ALONE_AFTER) == [(uid, "OtherJob")]
    (told,) = desk.cluster.all(EVENTS)
    assert (
        "pod pod-0-0 is of job second, and the CheckpointHeal that selects it looks after job first" in told["message"]
    )
    assert desk.troubled("OtherJob") == 1
    desk.strangers = []
    desk.after(ROUND_EVERY)
    assert desk.troubled("OtherJob") is None


def without_a_place(pod: Json) -> None:
    """Of a JobSet of several Jobs, whose size nobody told."""
    marks = {"jobset-name": "gpt", "job-index": "2", "replicatedjob-replicas": "4"}
    told = {f"jobset.sigs.k8s.io/{key}": text for key, text in marks.items()}
    pod["metadata"]["annotations"] = told | {"batch.kubernetes.io/job-completion-index": "0"}


def test_a_pod_with_an_agent_and_without_a_place_is_told_when_it_has_had_none_for_a_while():
    desk = Desk()
    desk.add_policy()
    uid = desk.add_pod(change=without_a_place)
    desk.add_pod("1/0")
    assert desk.after(0) == []
    assert desk.after(ALONE_AFTER) == [(uid, "PlaceUnknown")]
    (told,) = desk.cluster.all(EVENTS)
    assert "so nothing heals it: GroupSizeUnknown: a JobSet does not tell how many pods a group has" in told["message"]
    assert desk.troubled("PlaceUnknown") == 1


def test_a_pod_whose_place_is_marked_a_moment_later_is_not_told():
    desk = Desk()
    desk.add_policy()
    desk.add_pod(change=without_a_place)
    desk.after(0)
    (pod,) = desk.cluster.all(PODS)
    pod["metadata"]["annotations"]["checkpointheal.dev/group-size"] = "1"
    desk.mirrors[PODS].put(pod)
    assert desk.after(ALONE_AFTER) == []
    assert desk.after(ALONE_AFTER) == []
    assert desk.troubled("PlaceUnknown") is None


def test_a_pod_without_a_place_that_is_at_its_end_is_not_told():
    desk = Desk()
    desk.add_policy()
    desk.add_pod(change=lambda pod: (without_a_place(pod), pod["status"].update(phase="Succeeded")))
    desk.after(0)
    assert desk.after(ALONE_AFTER) == []


def test_a_policy_that_was_there_in_between_begins_the_wait_anew():
    desk = Desk()
    desk.add_pod()
    desk.after(0)
    desk.add_policy()
    desk.after(ALONE_AFTER)
    policy = desk.cluster.all(CHECKPOINTHEALS)[0]
    desk.mirrors[CHECKPOINTHEALS].drop(policy["metadata"]["uid"])
    assert desk.after(ROUND_EVERY) == []


def test_what_changed_is_looked_at_at_once_and_all_the_rest_in_its_turn():
    desk = Desk()
    desk.after(0)
    uid = desk.add_pod("0/0", without_agent)
    assert desk.after(1) == [(uid, "NotInjected")]
    quiet = pod_object(a_pod(m("1/0")))
    without_agent(quiet)
    desk.mirrors[PODS].put(desk.cluster.put(PODS, quiet))
    assert len(desk.after(1)) == 1
    assert len(desk.after(ROUND_EVERY)) == 2


def test_what_cannot_be_told_now_is_told_later_and_what_may_not_be_told_never_is(caplog):
    for error, again in ((Unreachable("no answer"), True), (Refused("forbidden"), False)):
        desk, failing = Desk(), [error]

        def fail(_number: int, failing: list[Exception] = failing) -> None:
            if failing:
                raise failing.pop()

        desk.cluster.before = fail
        uid = desk.add_pod("0/0", without_agent)
        assert desk.after(0) == []
        assert desk.after(ROUND_EVERY) == ([(uid, "NotInjected")] if again else [])
        assert str(error) in caplog.text


def test_a_thousand_at_once_are_told_in_turns(monkeypatch):
    monkeypatch.setattr(pod_events, "AT_ONCE", 2)
    monkeypatch.setattr(pod_events, "BREATH", 1)
    desk = Desk()
    for member in ("0/0", "1/0", "2/0"):
        desk.add_pod(member, without_agent)
    assert len(desk.after(0)) == 2
    assert len(desk.after(ROUND_EVERY)) == 3


def test_a_pod_that_is_gone_is_forgotten():
    desk = Desk()
    uid = desk.add_pod("0/0", without_agent)
    desk.after(0)
    desk.mirrors[PODS].drop(uid)
    desk.after(ROUND_EVERY)
    assert (desk.events._told, desk.events._alone, desk.troubled("NotInjected")) == (set(), {}, None)


def test_a_pod_whose_agent_speaks_again_is_in_trouble_no_more_though_its_object_tells_of_the_end_before():
    desk = Desk()
    desk.add_policy()
    uid = desk.add_pod("0/0", that_was_out_of_memory)
    assert desk.after(0) == [(uid, "AgentOutOfMemory")]
    assert desk.troubled("AgentOutOfMemory") == 1
    desk.heard = [heard(a_report(m("0/0"), 10, pod_uid=uid), NOW + ROUND_EVERY)]
    desk.after(ROUND_EVERY)
    assert desk.troubled("AgentOutOfMemory") is None
    desk.after(AT_WORK + 1)
    assert desk.troubled("AgentOutOfMemory") == 1, "it has fallen silent again"


def test_an_agent_that_once_had_no_memory_hides_nothing_else_of_its_pod_for_good():
    desk = Desk()
    uid = desk.add_pod("0/0", that_was_out_of_memory)
    desk.after(ALONE_AFTER)
    desk.heard = [heard(a_report(m("0/0"), 10, pod_uid=uid), NOW + 3 * ALONE_AFTER)]
    desk.after(ALONE_AFTER)
    assert desk.after(ALONE_AFTER) == [(uid, "AgentOutOfMemory"), (uid, "NoPolicy")]
    assert (desk.troubled("AgentOutOfMemory"), desk.troubled("NoPolicy")) == (None, 1)


def test_an_agent_at_work_does_not_select_its_pod():
    desk = Desk()
    uid = desk.add_pod()
    desk.after(0)
    desk.heard = [heard(a_report(m("0/0"), 10, pod_uid=uid), NOW + ALONE_AFTER)]
    desk.after(ALONE_AFTER)
    assert desk.troubled("NoPolicy") == 1


def test_reports_are_put_in_order_once_however_many_namespaces_there_are():
    desk = Desk()
    for number in range(5):
        desk.add_pod(f"{number}/0", lambda pod, number=number: pod["metadata"].update(namespace=f"team-{number}"))
    desk.after(0)
    assert desk.asked == 1


@pytest.mark.parametrize("has_policy", [True, False])
def test_a_pod_without_an_agent_in_a_namespace_that_the_webhook_passes_over_is_no_trouble(has_policy):
    desk = Desk()
    desk.passed_over.add(WHERE)
    if has_policy:
        desk.add_policy()
    uid = desk.add_pod("0/0", without_agent)
    for seconds in (0, ALONE_AFTER, ROUND_EVERY):
        assert desk.after(seconds) == []
    assert (desk.troubled("NotInjected"), desk.troubled("NoPolicy")) == (None, None)
    desk.passed_over.clear()
    assert desk.after(ROUND_EVERY) == [(uid, "NotInjected")]
    assert desk.troubled("NotInjected") == 1


def test_an_agent_in_trouble_is_told_though_its_namespace_opted_out_since():
    desk = Desk()
    desk.passed_over.add(WHERE)
    desk.add_policy()
    uid = desk.add_pod("0/0", without_image)
    assert desk.after(0) == [(uid, "AgentImageUnavailable")]
    assert desk.troubled("AgentImageUnavailable") == 1
