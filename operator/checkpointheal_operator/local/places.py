"""Where does a pod of this machine live, and what do its processes find in their environment?

Names, folders, ports and variables; nothing is started here. What the trainer sees never holds a secret.
"""

import contextlib
import importlib.util
import os
import random
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.seats import Seats, pods_per_replica
from checkpointheal_operator.local.keeper import POD_UID
from checkpointheal_operator.local.settings import LocalSettings

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 an arena is memory; where there is none a temporary folder stands in
LOOPBACK = "127.0.0.1"
SECRETS = frozenset({"CHECKPOINTHEAL_TOKEN", "CHECKPOINTHEAL_PEER_KEY", "CHECKPOINTHEAL_GATEWAY"})
FOLDERS = "checkpointheal-"
"""How the folder of each job's memory begins."""
_LONGEST_PATH = 107
"""Characters of a socket's path."""
_SOCKETS = len("/pymp-12345678/listener-12345678")
_PORTS = range(10_000, 65_536)


def memory_root() -> Path:
    """Where the memory of all jobs lies."""
    return SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())


@dataclass(frozen=True)
class Site:
    """What all pods of one job share."""

    settings: LocalSettings
    gateway: str
    peer_key: str
    master_port: int

    @property
    def memory(self) -> Path:
        """The folder that holds the memory of all its pods."""
        return memory_root() / f"{FOLDERS}{self.settings.job}"

    def arena(self, uid: str) -> Path:
        """The folder of a pod's memory."""
        return self.memory / uid

    def log(self, pod: str, process: str) -> Path:
        """Where a process of this pod writes: `POD.log` for the trainer, `POD.agent.log` for the agent."""
        return self.settings.logs / (f"{pod}.log" if process == "run" else f"{pod}.{process}.log")

    def command(self, process: str) -> tuple[str, ...]:
        """What the agent, or the trainer under `run`, is started with."""
        if process == "agent":
            return self.settings.agent
        run = (sys.executable, "-P", "-m", "checkpointheal.cli", "run", *self._warm(), *self._each())
        return (*run, "--restarts", str(self.settings.trainer_restarts), "--", *self.settings.command)

    def _warm(self) -> tuple[str, ...]:
        """`run` would say of every other program that it cannot be warm."""
        is_python = Path(self.settings.command[0]).name.startswith("python")
        return ("--warm",) if self.settings.warm and is_python else ()

    def _each(self) -> tuple[str, ...]:
        count = self.settings.local_ranks
        return ("--nproc-per-node", str(count)) if count > 1 and not self.settings.launcher else ()


@dataclass(frozen=True)
class Claim:
    """One pod: the places that its seats hold, and this life of it."""

    seats: Seats
    uid: str
    token: str

    @property
    def member(self) -> MemberId:
        """Who sits in its first seat."""
        return self.seats.member(0)

    @property
    def name(self) -> str:
        """The same for every pod of this place."""
        pod, blocks = self.seats.pod, pods_per_replica(self.seats.ranks, self.seats.count)
        return f"trainer-{pod.replica}" + (f"-{pod.rank}" if blocks > 1 else "")


def environment(site: Site, claim: Claim, process: str) -> dict[str, str]:
    """All variables of the pod's `agent` or `run`."""
    common = {
        "CHECKPOINTHEAL_JOB": site.settings.job,
        "CHECKPOINTHEAL_MEMBER": str(claim.seats.pod),
        "CHECKPOINTHEAL_POD": claim.name,
        "CHECKPOINTHEAL_ARENA": str(site.arena(claim.uid)),
        POD_UID: claim.uid,
        **claim.seats.variables,
    }
    return common | (_agents(site, claim) if process == "agent" else _trainers(site, claim))


def _agents(site: Site, claim: Claim) -> dict[str, str]:
    return dict(site.settings.environment) | {
        "CHECKPOINTHEAL_GATEWAY": site.gateway,
        "CHECKPOINTHEAL_TOKEN": claim.token,
        "CHECKPOINTHEAL_PEER_KEY": site.peer_key,
        "CHECKPOINTHEAL_HOST": LOOPBACK,
        "CHECKPOINTHEAL_PORT": "0",
        "CHECKPOINTHEAL_SLOTS": str(site.settings.slots),
        "CHECKPOINTHEAL_REPORT_EVERY": str(site.settings.report_every),
        **_scratch(site.arena(claim.uid)),
    }


def _scratch(arena: Path) -> dict[str, str]:
    """An agent is killed, and what it made to speak with its children would stay: here it goes with the pod."""
    return {"TMPDIR": str(arena)} if len(str(arena)) + _SOCKETS <= _LONGEST_PATH else {}


def _trainers(site: Site, claim: Claim) -> dict[str, str]:
    """Torchrun's variables; in a pod of several trainers `run` gives each its ranks."""
    policy = site.settings.policy
    world = policy.replicas * policy.ranks
    inherited = {name: value for name, value in site.settings.environment.items() if name not in SECRETS}
    defaults = {
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // world)),
        "PYTHONUNBUFFERED": "1",
        "CHECKPOINTHEAL_RESTORE_BUDGET": f"{policy.restore_budget:g}",
    }
    return (
        defaults
        | inherited
        | {
            **(_ranks(claim.member, policy.ranks) if claim.seats.count == 1 else {}),
            "WORLD_SIZE": str(world),
            "MASTER_ADDR": LOOPBACK,
            "MASTER_PORT": str(site.master_port),
            "PATH": search_path(site.settings.environment),
        }
    )


def _ranks(member: MemberId, ranks: int) -> dict[str, str]:
    return {"RANK": str(member.replica * ranks + member.rank), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}


def search_path(environment: Mapping[str, str]) -> str:
    """Where commands are looked for: `python` is the interpreter that this package is installed for, as in torchrun."""
    return os.pathsep.join((str(Path(sys.executable).parent), environment.get("PATH", os.defpath)))


def tether() -> str:
    """The program that ties a process to its parent's life. Found, not imported: it is run by path."""
    spec = importlib.util.find_spec("checkpointheal.tether")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("checkpointheal.tether is not installed", name="checkpointheal.tether")
    return spec.origin


def free_port() -> int:
    """A port that nothing listens on and that the kernel gives to no outgoing connection.

    One in its own range would be taken by some connection while the trainers are down, and rank 0 could not come back.
    """
    return next(port for port in _candidates(_ephemeral()) if _is_free(port))


def _candidates(taken: range) -> Iterator[int]:
    ports = [port for port in _PORTS if port not in taken]
    return iter(random.sample(ports, len(ports)))


def _ephemeral() -> range:
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except OSError:
        return range(32_768, 61_000)
    return range(int(low), int(high) + 1)


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
