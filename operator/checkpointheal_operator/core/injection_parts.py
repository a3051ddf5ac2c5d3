"""What is added to a pod: the agent's container, three volumes, the trainer's mount and variables?

Plain JSON, clean under the restricted pod security standard. Must not know what the pod has already.
"""

from dataclasses import dataclass

from pydantic import JsonValue

from checkpointheal.contract.seats import LOCAL_RANKS, RANKS
from checkpointheal_operator.core.identity import Placed
from checkpointheal_operator.core.injection_settings import InjectionSettings, Wishes
from checkpointheal_operator.core.injection_trainer import User
from checkpointheal_operator.core.quantities import whole, written

AGENT, ARENA, TOKEN = "checkpointheal-agent", "checkpointheal-arena", "checkpointheal-token"
SCRATCH, SCRATCH_SIZE = "checkpointheal-scratch", "16Mi"
VOLUMES = (ARENA, TOKEN, SCRATCH)
ARENA_PATH, TOKEN_FOLDER = "/run/checkpointheal/arena", "/run/checkpointheal/token"
ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where the API server mounts the token of the pod's account into each container that mounts nothing there: it looks
again after a webhook has changed a pod. The agent's own token stands there instead, which the API does not take.
"""
ARENA_FOLDER = f"{ARENA_PATH}/shared"
"""Made by the agent. A volume's own folder is root's and sticky: of two users neither may replace the other's files."""
TRAINER_VARIABLES = ("CHECKPOINTHEAL_ARENA", "CHECKPOINTHEAL_JOB", "CHECKPOINTHEAL_MEMBER")
SEATS_VARIABLES = (LOCAL_RANKS, RANKS)
"""Of a pod with several local ranks."""
GATEWAY, GATEWAY_ROOT = "CHECKPOINTHEAL_GATEWAY", "CHECKPOINTHEAL_GATEWAY_ROOT"
CPU, DISK = "cpu", "ephemeral-storage"

Part = dict[str, JsonValue]


@dataclass(frozen=True)
class Seat:
    """The pod's place, as its trainers and its agent are told."""

    job: str
    member: str
    fields: tuple[tuple[str, str], ...] = ()
    """Variables that `member` refers to, and their field paths."""
    local_ranks: int = 1
    ranks: int = 1
    """Members of a replica, which matters where there are several local ranks."""
    marks: tuple[tuple[str, str], ...] = ()
    """Annotations that the pod lacks, and without which nobody else finds its place."""

    @classmethod
    def of(cls, found: Placed) -> "Seat":
        """The place that a pod's own marks tell."""
        seats = found.seats
        return cls(found.job, str(seats.pod), local_ranks=seats.count, ranks=seats.ranks)

    @property
    def told(self) -> str:
        """For people."""
        return self.member if self.local_ranks == 1 else f"{self.member} ({self.local_ranks} local ranks)"


@dataclass(frozen=True)
class Room:
    """What an agent gets in this pod."""

    user: User
    port: int
    guaranteed: bool
    limited: frozenset[str]
    """Resources of which every container has a limit: a quota may demand it of each."""
    se_linux: Part | None = None


def sidecar(settings: InjectionSettings, wishes: Wishes, seat: Seat, room: Room) -> Part:
    """The agent: a native sidecar without probes, so that nothing of ours gates the trainer."""
    container: Part = {
        "name": AGENT,
        "image": wishes.image,
        "command": ["checkpointheal", "agent"],
        "restartPolicy": "Always",
        "env": [*variables(seat), *_agents_variables(settings, room)],
        "resources": _resources(settings, wishes, room),
        "securityContext": _security(room),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            arena_mount(),
            {"name": TOKEN, "mountPath": TOKEN_FOLDER, "readOnly": True},
            {"name": TOKEN, "mountPath": ACCOUNT_FOLDER, "readOnly": True},
            {"name": SCRATCH, "mountPath": "/tmp"},  # noqa: S108 the agent's alone: its processes meet there
        ],
    }
    if settings.image_pull_policy is not None:
        container["imagePullPolicy"] = settings.image_pull_policy
    if room.port:
        container["ports"] = [_port(room.port + each, each) for each in range(seat.local_ranks)]
    return container


def _port(number: int, local_rank: int) -> Part:
    """The first one has a name; of another there would be no room for a number in it."""
    named: Part = {"name": "checkpointheal"} if local_rank == 0 else {}
    return named | {"containerPort": number, "protocol": "TCP"}


def volumes(settings: InjectionSettings, wishes: Wishes) -> tuple[Part, ...]:
    """The arena in memory, a token that is good for nothing but the gateway, and room for sockets."""
    token: Part = {"audience": settings.audience, "expirationSeconds": settings.token_seconds, "path": "token"}
    arena: Part = {"medium": "Memory", "sizeLimit": wishes.arena}
    return (
        {"name": ARENA, "emptyDir": arena},
        {"name": TOKEN, "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": SCRATCH, "emptyDir": {"medium": "Memory", "sizeLimit": SCRATCH_SIZE}},
    )


def arena_mount() -> Part:
    """The same for agent and trainer: the arena's path is told to both."""
    return {"name": ARENA, "mountPath": ARENA_PATH}


def variables(seat: Seat) -> tuple[Part, ...]:
    """What both are told. A reference is expanded only after what it refers to."""
    told = dict(zip(TRAINER_VARIABLES, (ARENA_FOLDER, seat.job, seat.member), strict=True))
    if seat.local_ranks > 1:
        told |= dict(zip(SEATS_VARIABLES, (str(seat.local_ranks), str(seat.ranks)), strict=True))
    return (
        *(_read_from(name, path) for name, path in seat.fields),
        *(_said(name, value) for name, value in told.items()),
    )


def _agents_variables(settings: InjectionSettings, room: Room) -> tuple[Part, ...]:
    told = {
        "CHECKPOINTHEAL_TOKEN_FILE": f"{TOKEN_FOLDER}/token",
        "CHECKPOINTHEAL_PORT": str(room.port),
        "CHECKPOINTHEAL_LOG": "" if settings.log == "text" else settings.log,
    }
    return (
        _read_from("CHECKPOINTHEAL_POD", "metadata.name"),
        _read_from("CHECKPOINTHEAL_POD_UID", "metadata.uid"),
        _read_from("CHECKPOINTHEAL_HOST", "status.podIP"),
        *home(settings),
        *(_said(name, value) for name, value in told.items() if value),
    )


def home(settings: InjectionSettings) -> tuple[Part, ...]:
    """Where the agent reports to, and whom it believes there."""
    told = {GATEWAY: settings.gateway, GATEWAY_ROOT: settings.gateway_root}
    return tuple(_said(name, value) for name, value in told.items() if value)


def _said(name: str, value: str) -> Part:
    return {"name": name, "value": value}


def _read_from(name: str, path: str) -> Part:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _resources(settings: InjectionSettings, wishes: Wishes, room: Room) -> Part:
    """The arena's pages are the agent's: memory is promised in full, so the trainer never pays for them."""
    memory = written(whole(wishes.arena) + whole(wishes.memory))
    requests: Part = {"cpu": wishes.cpu_fixed if room.guaranteed else wishes.cpu, "memory": memory}
    limits: Part = {"memory": memory}
    if CPU in room.limited:
        limits[CPU] = wishes.cpu_fixed if room.guaranteed else wishes.cpu_limit
    if DISK in room.limited:
        requests[DISK] = limits[DISK] = settings.disk
    return {"requests": requests, "limits": limits}


def _security(room: Room) -> Part:
    context: Part = {
        "runAsNonRoot": True,
        "runAsUser": room.user.uid,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if room.user.gid is not None:
        context["runAsGroup"] = room.user.gid
    if room.se_linux is not None:
        context["seLinuxOptions"] = room.se_linux
    return context
