"""A drill on a cluster: a state crosses between two agents, and nothing of the job is another than before."""

import re
from collections.abc import Callable
from typing import NamedTuple

from builders_cluster import LARGE, Job, Json, found, one, plugin, until
from builders_jobs import restarts

STEPS = 200


class Standing(NamedTuple):
    """What a drill must not change."""

    uids: tuple[str, ...]
    restarts: tuple[int, ...]
    trainers: tuple[frozenset[int], ...]
    arenas: tuple[frozenset[str], ...]
    heals: int
    epoch: int
    protected: str


def standing(job: Job) -> Standing:
    ranks = range(job.replicas)
    pods = [one("pod", job.namespace, job.pod_of(rank)) or {} for rank in ranks]
    return Standing(
        uids=tuple(job.uid(rank) for rank in ranks),
        restarts=tuple(restarts(pod, name) for pod in pods for name in ("trainer", "checkpointheal-agent")),
        trainers=tuple(frozenset(each["pid"] for each in job.events(rank) if "pid" in each) for rank in ranks),
        arenas=tuple(arena(job, rank) for rank in ranks),
        heals=len(job.heals),
        epoch=job.policy_status()["epoch"]["number"],
        protected=job.condition("Protected")["status"],
    )


def arena(job: Job, rank: int) -> frozenset[str]:
    """Which kinds of files lie there; seals and private parts come and go with every step."""
    names = job.run(rank, "sh", "-c", "ls $CHECKPOINTHEAL_ARENA").split()
    passing = re.compile(r"private-.*|.*\.seal\.json|.*\.tmp")
    return frozenset(name for name in names if not passing.fullmatch(name))


def a_training_job(namespace: str, **how: object) -> Job:
    job = Job(namespace, **{"steps": STEPS} | how).start()  # type: ignore[arg-type]
    job.until_step(8)
    until(lambda: job.condition("Protected")["status"] == "True", "everybody is protected", seen=job.look)
    return job


def drill(job: Job) -> Json:
    told: Json = job.policy_status()["drill"]
    return told


def events(job: Job, reason: str) -> list[Json]:
    said = found("events", job.namespace)
    return [each for each in said if (each["involvedObject"]["kind"], each["reason"]) == ("CheckpointHeal", reason)]


def test_drills_pass_by_another_pair_each_time_and_nothing_is_another_than_before(
    namespace: str, same: Callable[[Job], None]
) -> None:
    job = a_training_job(namespace)
    before, pairs = standing(job), set()
    for _ in range(3):
        step = max(job.step(rank) for rank in range(job.replicas))
        done = plugin("drill", "-n", namespace, "--timeout", "90", seconds=120)
        assert done.returncode == 0, (done.stdout, done.stderr, job.look())
        assert "a heal would work" in done.stdout
        told = drill(job)
        assert told["passed"], told
        assert told["transfer"]["bytes"] == told["transfer"]["total"] > 0
        assert told["transfer"]["step"] >= told["plan"]["step"]
        pairs.add((told["plan"]["recipient"]["pod"], told["plan"]["donor"]["pod"]))
        until(lambda step=step: all(job.step(rank) > step for rank in range(job.replicas)), "training goes on")
    assert len(pairs) == 3
    assert len(events(job, "DrillPassed")) == 3
    assert standing(job) == before
    same(job)
    assert job.heals == []

    done = plugin("drill", "-n", namespace, "--timeout", "90", seconds=120)
    assert (done.returncode, drill(job)["reason"]) == (1, "NotTraining"), done


def test_a_drill_that_training_overtakes_says_so_and_harms_nobody(namespace: str, same: Callable[[Job], None]) -> None:
    slow = {"steps": 60, "policy": {"donors": {"bytesPerSecond": 2_000_000}}}
    job = a_training_job(namespace, **LARGE | slow)
    before = standing(job)
    done = plugin("drill", "-n", namespace, "--timeout", "120", seconds=150)
    assert (done.returncode, drill(job)["reason"]) == (1, "Overtaken"), (done.stdout, done.stderr, job.look())
    assert standing(job) == before
    same(job)
    assert job.heals == []


def test_the_policys_schedule_needs_nobody(namespace: str) -> None:
    job = a_training_job(namespace, steps=2000, policy={"drill": {"everySeconds": 60}})
    until(lambda: job.policy_status().get("drill", {}).get("endedAt"), "a drill by the schedule", seen=job.look)
    assert (drill(job)["passed"], drill(job)["request"]) == (True, ""), job.look()
    assert job.heals == []
