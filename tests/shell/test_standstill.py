"""A job whose trainer never comes says so, with its member and the reason, however it came to that."""

import asyncio

import pytest

from builders_api import JOB, WHERE
from builders_core import m
from builders_plugin import a_training_job, seen_of, text, with_agents
from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.plugin.standing import page, problems
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS, PODS
from checkpointheal_operator.shell.keeping import Keeper, Ties
from checkpointheal_operator.shell.look import Surroundings
from checkpointheal_operator.shell.objects import Listening
from cluster_simulation import ClusterSimulation

MEMBER = m("1/0")
NO_IMAGE = {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}


class WithoutTrainer(ClusterSimulation):
    """That member's pod has an agent, and its trainer's image cannot be had."""

    never = True

    def start_what_is_missing(self, member: MemberId) -> bool:
        changed = super().start_what_is_missing(member)
        if self.never and member == MEMBER:
            self.pods[member].trainer = None
        return changed

    def put_pods(self) -> None:
        super().put_pods()
        for pod in self.cluster.all(PODS) if self.never else ():
            if pod["metadata"]["name"] == self.pods[MEMBER].name:
                pod["status"]["containerStatuses"] = [{"name": "trainer", "state": NO_IMAGE}]

    def after(self, seconds: float) -> dict[str, Json]:
        """What is told by then; nobody falls silent meanwhile."""
        for wait in (seconds, 1.0):
            self.now += wait
            for _ in range(4):
                self.go_round()
        (policy,) = self.cluster.all(CHECKPOINTHEALS)
        return {each["type"]: each for each in policy["status"]["conditions"]}


def test_a_first_start_that_waits_for_an_image_says_so():
    told = WithoutTrainer(3, 1).after(20)
    assert (told["Degraded"]["status"], told["Degraded"]["reason"]) == ("True", "NotWaiting")
    assert (
        "1/0 is absent, not yet in restore(); its container in pod pod-1-0-2: ImagePullBackOff: no such tag"
        in (told["Degraded"]["message"])
    )
    assert told["Training"]["reason"] == "NotYet"


def test_a_replacement_that_never_comes_up_says_so_and_all_is_well_once_it_does():
    job = WithoutTrainer(3, 1)
    job.never = False
    job.go_on()
    job.train_to(5)
    job.replace_pod(MEMBER)
    job.never = True
    job.after(1)
    told = job.after(1200)
    assert (told["Training"]["reason"], told["Degraded"]["reason"]) == ("PodReplaced", "NotWaiting")
    assert job.heals == []
    job.never = False
    assert [job.after(10)[each]["status"] for each in ("Training", "Degraded")] == ["True", "False"]


def test_what_is_told_of_it_stays_as_it_is_through_a_change_of_leaders():
    job = WithoutTrainer(3, 1)
    before = job.after(600)["Degraded"]
    job.restart_operator()
    assert job.after(0)["Degraded"] == before


@pytest.mark.parametrize(("never", "counted"), [(True, True), (False, False)])
def test_its_keeper_counts_it_once_it_stands_for_long(never, counted):
    job = WithoutTrainer(3, 1)
    job.never = never
    job.after(600)

    async def look() -> bool:
        done = asyncio.Event()
        ties = Ties(lambda: Listening(job.leader_since, tuple(job.heard.values())), lambda _looked: done.set())
        keeper = Keeper(Surroundings(job.cluster, lambda: job.now), (WHERE, JOB), ties)
        running = asyncio.create_task(keeper.run())
        await done.wait()
        running.cancel()
        return keeper.stands_still

    assert asyncio.run(look()) == counted


def test_no_heal_is_said_to_be_under_way_where_none_is_open():
    job = a_training_job()
    job.replace_pod(MEMBER)
    job.pods[MEMBER].silent = True
    job.now += 2
    job.look()
    with_agents(job.cluster)
    said = text(page(seen_of(job.cluster), "in namespace training", job.now))
    assert "not training: PodReplaced" in said
    assert "a heal is under way" not in said
    assert "-> wait: a heal is opened once its trainer asks for a state" in said
    assert problems(seen_of(job.cluster))
