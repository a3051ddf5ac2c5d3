"""A root gives way to the next one under agents that run, and what the old one signed is worth nothing then."""

import base64
import uuid
from collections.abc import Iterator

import pytest

from builders_cluster import SYSTEM, Job, found, healed_by, one, until
from builders_jobs import restarts
from builders_knock import knock, papers
from builders_release import (
    SHORT_CERTIFICATES,
    SHORT_LIVES,
    USUAL_LIVES,
    begin_with_another_root,
    until_pods_get_agents,
    upgrade,
)
from builders_tokens import Waiting, root, waiting
from checkpointheal_operator.gateway.authority import Terms
from on_nodes import AGENT, Where, signal_agent

BEGINS = "-----BEGIN CERTIFICATE-----"
SHORT = Terms(leaf=60, root=600, skew=2)
"""What SHORT_LIVES says."""
A_TURN = 600.0
"""Seconds: until one is due, believed, signs and is alone, each time up to a minute late."""


@pytest.fixture
def short_certificates(namespace: str) -> Iterator[None]:
    """Agents that are made from now on renew every 40 seconds. Afterwards no root turns under the pods of others."""
    upgrade(*SHORT_CERTIFICATES)
    yield
    upgrade(*USUAL_LIVES)
    begin_with_another_root()
    until_pods_get_agents(Job(namespace))


def a_job(namespace: str, name: str) -> Job:
    job = Job(namespace, name=name, replicas=2, steps=300, environment={"PACE": "3"})
    until_pods_get_agents(job)
    return job.start()


def where(job: Job, rank: int) -> Where:
    pod = one("pod", job.namespace, job.pod_of(rank)) or {}
    return Where(job.pod_of(rank), pod["metadata"]["uid"], pod["spec"]["nodeName"], pod["status"]["podIP"])


def kept_roots() -> str:
    secret = one("secret", SYSTEM, "checkpointheal-roots") or {}
    return base64.b64decode(secret["data"]["roots.pem"]).decode()


def certificates(job: Job, rank: int) -> int:
    return job.agent_log(rank).count("certified as")


@pytest.mark.usefixtures("short_certificates")
@pytest.mark.timeout(2400)
def test_agents_go_on_and_heal_while_their_root_turns_and_the_old_one_is_refused_afterwards(namespace, same):
    steady, silent = a_job(namespace, "steady"), a_job(namespace, "silent")
    guest = waiting(namespace, f"guest-{uuid.uuid4().hex[:4]}")
    for job in (steady, silent):
        job.until_step(5)
    before, old_root = papers(kept_roots(), guest, steady), root()
    assert knock(guest, before, steady, 1).startswith("HTTP/1.1"), "the old root is believed while it is the only one"

    asleep = where(silent, 1)
    until(lambda: signal_agent(asleep, "STOP"), "its agent stands still")
    upgrade(*SHORT_LIVES)
    until(lambda: root() != old_root and root().startswith(old_root), "old and new are believed", A_TURN, seen=root)
    until_pods_get_agents(steady)
    steady.delete_pods(0)
    healed_by(steady, 0, "Peer")
    until(lambda: root().count(BEGINS) == 1 and root() != old_root, "the new one is alone", A_TURN, seen=root)

    until(lambda: refused(guest, before, steady), "the old root is refused", seen=lambda: steady.agent_log(1)[-2000:])
    assert knock(guest, papers(kept_roots(), guest, steady, SHORT), steady, 1).startswith("HTTP/1.1")
    until_pods_get_agents(steady)
    steady.delete_pods(0)
    until(lambda: len(steady.heals_of(0)) == 2, "a heal after the turn", seen=steady.look)
    healed_by(steady, 0, "Peer")

    known = certificates(silent, 1)
    signal_agent(asleep, "CONT")
    until(lambda: certificates(silent, 1) > known, "it is certified again", seen=lambda: silent.agent_log(1)[-2000:])
    silent.delete_pods(0)
    healed_by(silent, 0, "Peer")
    (heal,) = silent.heals_of(0)
    assert [each["podUID"] for each in heal["spec"]["assignment"]["donors"]] == [asleep.uid]
    assert [restarts(pod, AGENT) for pod in found("pods", namespace, "checkpointheal.dev/inject=true")] == [0] * 4
    same(steady)
    same(silent)


def refused(guest: Waiting, shown: str, job: Job) -> bool:
    """By an alert, or by a door that is shut before all was said; who is let in is answered at the same door."""
    return knock(guest, shown, job, 1).startswith("refused")
