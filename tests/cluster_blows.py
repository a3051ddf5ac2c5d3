"""What may befall a job of pods, its agents, its operator, its webhook, its nodes and the network between them.

Each says whom it hit, and raises Refused where there was nobody to hit. Must not know what is promised: `bad_cluster`
judges.
"""

import contextlib
import random
import time
from collections.abc import Callable

from bad_cluster import BadCluster
from builders_cluster import SYSTEM, Refused, found, kubectl, leader
from on_nodes import agent_of, full_arena, lossy, narrow, off, paused, signal_agent

Blow = Callable[[BadCluster, random.Random, int], str]

STOPPED_SECONDS = 20.0
FULL_SECONDS = (2.0, 15.0)
PAUSED_SECONDS = (3.0, 30.0)
OFF_SECONDS = (0.0, 10.0)
BAD_NETWORK_SECONDS = (5.0, 20.0)
LOSS = 0.1
NOW = ("--grace-period=0", "--force", "--wait=false")


def kill_trainer(hour: BadCluster, _dice: random.Random, rank: int) -> str:
    pid = hour.pid(rank)
    hour.job.run(rank, "kill", "-9", pid)
    return f"process {pid}"


def kill_agent(hour: BadCluster, _dice: random.Random, rank: int) -> str:
    where = hour.where(rank)
    container, pid = agent_of(where), signal_agent(where, "KILL")
    hour.ended(where.uid, container)
    return f"process {pid} on {where.node}"


def delete_pod(hour: BadCluster, dice: random.Random, rank: int) -> str:
    """With its time to leave, or without."""
    where, options = hour.where(rank), NOW if dice.random() < 0.5 else ("--wait=false",)
    kubectl("delete", "pod", "-n", hour.job.namespace, where.pod, *options)
    return f"{where.pod} {' '.join(options)}"


def kill_operator(_hour: BadCluster, dice: random.Random, _rank: int) -> str:
    """Who leads; at times both."""
    names = [leader()] if dice.random() < 0.7 else _pods("operator")
    kubectl("delete", "pod", "-n", SYSTEM, *names, *NOW)
    return " and ".join(names)


def kill_webhook(hour: BadCluster, dice: random.Random, rank: int) -> str:
    """One of two, and at times a pod is made meanwhile."""
    name = dice.choice(sorted(_pods("webhook")))
    kubectl("delete", "pod", "-n", SYSTEM, name, *NOW)
    return f"{name}, {delete_pod(hour, dice, rank)}" if dice.random() < 0.5 else name


def stop_agent(hour: BadCluster, _dice: random.Random, rank: int) -> str:
    """For longer than the operator waits for a word."""
    where = hour.where(rank)
    pid = signal_agent(where, "STOP")
    time.sleep(STOPPED_SECONDS)
    with contextlib.suppress(Refused):  # something else ended it meanwhile
        signal_agent(where, "CONT")
    return f"process {pid} on {where.node}, {STOPPED_SECONDS:.0f} s"


def fill_arena(hour: BadCluster, dice: random.Random, rank: int) -> str:
    """For a while in which its trainer may start again."""
    where, seconds = hour.where(rank), dice.uniform(*FULL_SECONDS)
    with full_arena(where) as blocks:
        if dice.random() < 0.5:
            with contextlib.suppress(Refused):  # it is on its way already
                kill_trainer(hour, dice, rank)
        time.sleep(seconds)
    return f"{where.pod}, {blocks} KiB, {seconds:.0f} s"


def pause_node(hour: BadCluster, dice: random.Random, rank: int) -> str:
    """Somebody's, for less time than Kubernetes needs to give its pods up."""
    seconds = dice.uniform(*PAUSED_SECONDS)
    with hour.nodes_turn, paused(node := hour.where(rank).node):
        time.sleep(seconds)
    return f"{node}, {seconds:.0f} s"


def restart_node(hour: BadCluster, dice: random.Random, rank: int) -> str:
    """All arenas there are gone, and their pods are the same ones."""
    with hour.nodes_turn:
        node = hour.where(rank).node
        there = {each.uid: agent_of(each) for each in hour.on_node(node)}
        with off(node):
            time.sleep(dice.uniform(*OFF_SECONDS))
        for uid, container in there.items():
            hour.ended(uid, container)
    return f"{node} with {len(there)} of the job"


def lose_packets(hour: BadCluster, dice: random.Random, rank: int) -> str:
    """Between two pods, one in ten."""
    return _between(hour, dice, rank, LOSS)


def cut_link(hour: BadCluster, dice: random.Random, rank: int) -> str:
    """Between two pods nothing arrives."""
    return _between(hour, dice, rank, 1.0)


def narrow_link(hour: BadCluster, dice: random.Random, rank: int) -> str:
    """To a pod, a megabit a second."""
    where, seconds = hour.where(rank), dice.uniform(*BAD_NETWORK_SECONDS)
    with narrow(where):
        time.sleep(seconds)
    return f"{where.pod}, {seconds:.0f} s"


ALL: tuple[Blow, ...] = (
    kill_trainer,
    kill_trainer,
    kill_agent,
    delete_pod,
    delete_pod,
    kill_operator,
    kill_webhook,
    stop_agent,
    fill_arena,
    pause_node,
    restart_node,
    lose_packets,
    cut_link,
    narrow_link,
)
"""Some more often than others."""


def _between(hour: BadCluster, dice: random.Random, rank: int, share: float) -> str:
    one, other = hour.where(rank), hour.where((rank + 1) % hour.world)
    seconds = dice.uniform(*BAD_NETWORK_SECONDS)
    with lossy(one, other, share):
        time.sleep(seconds)
    return f"{one.pod} and {other.pod}, {seconds:.0f} s"


def _pods(component: str) -> list[str]:
    pods = found("pods", SYSTEM, f"app.kubernetes.io/component={component}")
    if not pods:
        raise Refused(f"no pod of the {component} is there")
    return [each["metadata"]["name"] for each in pods]
