"""What somebody with a shell on a kind node can do to it and to the pods there.

Each is undone by whoever leaves its context, however long the node cannot be asked meanwhile. Must not know why.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple

from builders_cluster import Refused, until
from builders_jobs import docker, is_ready

AGENT = "checkpointheal-agent"
ARENA = "volumes/kubernetes.io~empty-dir/checkpointheal-arena"
PODS = "/var/lib/kubelet/pods"
SMALL_ENOUGH = 1 << 30
"""Bytes that a volume may have free to be filled: one that has more is no arena of a test's."""
RATE, BURST, LATENCY = "1mbit", "32kbit", "400ms"
NOT_NOW = ("is paused", "is not running", "is restarting")


class Where(NamedTuple):
    """A pod, and where it runs."""

    pod: str
    uid: str
    node: str
    ip: str


def on(node: str, shell: str, seconds: float = 240) -> str:
    """What it says. A node that is paused or off is asked again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return docker("exec", node, "sh", "-c", shell)
        except Refused as error:
            if time.monotonic() > deadline or not any(each in str(error) for each in NOT_NOW):
                raise
            time.sleep(0.5)


def undo(node: str, shell: str) -> None:
    """However often it takes: the node may go down in the middle of it."""
    until(lambda: on(node, f"{shell} 2>/dev/null; echo done"), f"{shell} on {node}")


def _agents(where: Where) -> str:
    return f"crictl ps --quiet --state Running --name {AGENT} --label io.kubernetes.pod.uid={where.uid}"


def agent_of(where: Where) -> str | None:
    """The container in which its agent runs: each start has one of its own."""
    return on(where.node, _agents(where)).strip() or None


def signal_agent(where: Where, number: str) -> str:
    """From outside its container, where it is process 1. Raises Refused where none runs."""
    inspect = "crictl inspect --output go-template --template '{{.info.pid}}'"
    is_one = f'id=$({_agents(where)}) && [ -n "$id" ]'  # of none, crictl would tell of all
    return on(where.node, f"{is_one} && pid=$({inspect} $id) && kill -{number} $pid && echo $pid").strip()


@contextlib.contextmanager
def full_arena(where: Where) -> Iterator[str]:
    """Nobody gets a byte of its volume any more. While a node starts, that folder is not in memory: it is the disk."""
    arena = f"{PODS}/{where.uid}/{ARENA}"
    free = f"$(df --output=avail --block-size=1 {arena} | tail -1)"
    small = f"mountpoint --quiet {arena} && free={free} && [ $free -lt {SMALL_ENOUGH} ]"
    try:
        yield on(where.node, f"{small} && fallocate --length $free {arena}/filler && echo $((free / 1024))").strip()
    finally:
        undo(where.node, f"rm --force {arena}/filler")


@contextlib.contextmanager
def lossy(one: Where, other: Where, share: float) -> Iterator[None]:
    """This share of the packets between two pods is lost, both ways."""
    chance = "" if share >= 1 else f"-m statistic --mode random --probability {share}"
    ways = [f"FORWARD -s {a.ip} -d {b.ip} {chance} -j DROP" for a, b in ((one, other), (other, one))]
    node = one.node
    try:
        for way in ways:
            on(node, f"iptables --wait 5 -I {way}")
        yield
    finally:
        for way in ways:
            undo(node, f"iptables --wait 5 -D {way}")


@contextlib.contextmanager
def narrow(where: Where) -> Iterator[None]:
    """What comes to the pod comes at a megabit a second."""
    device = f"$(ip -oneline route get {where.ip} | sed 's/.* dev \\([^ ]*\\).*/\\1/')"
    try:
        on(where.node, f"tc qdisc add dev {device} root tbf rate {RATE} burst {BURST} latency {LATENCY}")
        yield
    finally:
        undo(where.node, f"tc qdisc del dev {device} root")


@contextlib.contextmanager
def paused(node: str) -> Iterator[None]:
    """All that runs there stands still."""
    docker("pause", node)
    try:
        yield
    finally:
        docker("unpause", node)


@contextlib.contextmanager
def off(node: str) -> Iterator[None]:
    """It is shut down, and comes back with nothing that was in memory."""
    docker("stop", "--time", "5", node)
    try:
        yield
    finally:
        docker("start", node)
        until(lambda: not on(node, "systemctl is-active kubelet || true").startswith("inactive"), f"{node} has started")
        until(lambda: is_ready(node), f"{node} is ready")


def left_of(node: str, uids: set[str]) -> list[str]:
    """Folders of these pods."""
    return [f"{node}: {each}" for each in on(node, f"ls {PODS}").split() if each in uids]
