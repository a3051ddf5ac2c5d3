"""Pods that run without an agent are looked at once, and get one where that can still be done."""

import asyncio
import copy
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from builders_api import WHERE
from builders_injection import ROOT, a_pod, injected, settings
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.injection_parts import AGENT, TOKEN
from checkpointheal_operator.shell.cluster import PODS, Conflict, Forbidden, NotThere, Ref, Refused, Unreachable
from checkpointheal_operator.shell.late import FORBIDDEN_PAUSE, LateAgents, made_by
from checkpointheal_operator.shell.mirror import Mirror
from checkpointheal_operator.shell.slim import slim_pod
from fake_cluster import FakeCluster


class Pods(FakeCluster):
    """Counts how often it was asked to add something, and refuses when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.error = 0, None

    async def get(self, ref: Ref) -> Json:
        self.asked += 1
        return await super().get(ref)

    async def add_ephemeral(self, pod: Ref, containers: Sequence[Json]) -> None:
        if self.error is not None:
            raise self.error
        stored = copy.deepcopy(self.objects[pod])
        stored["spec"]["ephemeralContainers"] = list(containers)
        self.put(PODS, stored)


class Desk:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "settings.json"
        self.file.write_text(settings(gateway_root="").model_dump_json())
        self.cluster, self.mirror = Pods(), Mirror(lambda *_changed: None, slim_pod)
        self.passed_over: set[str] = set()
        current = partial(made_by, self.file, lambda: ROOT)
        self.late = LateAgents(self.cluster, self.mirror, lambda where: where not in self.passed_over, current)

    def runs(self, pod: Json, phase: str = "Running") -> Ref:
        """As the API server and the mirror have it."""
        pod = copy.deepcopy(pod)
        pod["metadata"] |= {"namespace": WHERE}
        pod["status"] = {"phase": phase}
        self.mirror.put(self.cluster.put(PODS, pod))
        return Ref(PODS, WHERE, pod["metadata"]["name"])

    def look(self, now: float = 0.0) -> None:
        asyncio.run(self.late.look(now))

    def beside(self, pod: Ref) -> list[Json]:
        found: list[Json] = self.cluster.objects[pod]["spec"].get("ephemeralContainers", [])
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def stripped() -> Json:
    pod = injected(a_pod())
    pod["spec"].pop("initContainers")
    return pod


def test_a_pod_of_a_namespace_that_the_webhook_passes_over_is_left_as_it_is(desk):
    pod = desk.runs(stripped())
    desk.passed_over = {WHERE}
    desk.look()
    assert (desk.beside(pod), desk.cluster.asked) == ([], 0)
    desk.passed_over = set()
    desk.look()
    assert [each["name"] for each in desk.beside(pod)] == [AGENT]


def test_it_is_added_once_and_believes_the_gateways_root(desk):
    pod = desk.runs(stripped())
    desk.look()
    desk.look()
    (agent,) = desk.beside(pod)
    assert agent["name"] == AGENT
    assert ROOT in json.dumps(agent["env"]).replace("\\n", "\n")
    assert desk.cluster.asked == 1


def test_what_stands_beside_the_trainer_already_stays(desk):
    pod = stripped()
    pod["spec"]["ephemeralContainers"] = [{"name": "debugger"}]
    where = desk.runs(pod)
    desk.look()
    assert [each["name"] for each in desk.beside(where)] == ["debugger", AGENT]


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed", ""])
def test_a_pod_that_does_not_run_is_left_alone(desk, phase):
    desk.runs(stripped(), phase)
    desk.look()
    assert desk.cluster.asked == 0


def test_a_pod_that_has_an_agent_is_left_alone(desk):
    desk.runs(injected(a_pod()))
    desk.look()
    assert desk.cluster.asked == 0


def test_a_pod_that_lacks_something_is_looked_at_once(desk):
    pod = stripped()
    pod["spec"]["volumes"] = [each for each in pod["spec"]["volumes"] if each["name"] != TOKEN]
    where = desk.runs(pod)
    desk.look()
    desk.look()
    assert desk.beside(where) == []
    assert desk.cluster.asked == 1


@pytest.mark.parametrize("error", [Unreachable("no answer"), Conflict("changed")])
def test_what_fails_now_is_tried_again(desk, error):
    where = desk.runs(stripped())
    desk.cluster.error = error
    desk.look()
    desk.cluster.error = None
    desk.look()
    assert len(desk.beside(where)) == 1


@pytest.mark.parametrize("error", [Refused("the policy of the namespace says no"), NotThere("it is gone")])
def test_what_is_refused_is_not_asked_again(desk, error):
    desk.runs(stripped())
    desk.cluster.error = error
    desk.look()
    desk.look()
    assert desk.cluster.asked == 1


def test_a_right_that_comes_later_is_found_and_its_lack_is_told_once(desk, caplog):
    where = desk.runs(stripped())
    desk.cluster.error = Forbidden("cannot patch pods/ephemeralcontainers")
    for now in (0.0, 5.0, FORBIDDEN_PAUSE):
        desk.look(now)
    assert desk.cluster.asked == 2
    assert len(caplog.messages) == 1
    desk.cluster.error = None
    desk.look(FORBIDDEN_PAUSE + 5)
    assert desk.beside(where) == []
    desk.look(2 * FORBIDDEN_PAUSE)
    assert len(desk.beside(where)) == 1


def test_settings_that_cannot_be_read_now_are_read_again(desk):
    where = desk.runs(stripped())
    said = desk.file.read_text()
    desk.file.write_text("{")
    desk.look()
    desk.file.write_text(said)
    desk.look()
    assert len(desk.beside(where)) == 1
