"""What does this agent's environment say about its pod, its arena and its operator?

A pod of several seats has an agent for each, all in one process: they differ by what follows from their local rank.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ConfigDict, Field

from checkpointheal.contract.base import Count, Frozen, Seconds
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.seats import Seats, seat_folder, seat_name, seat_uid
from checkpointheal.contract.trainer import PRIVATE_AT_MOST
from checkpointheal.errors import Misuse

PREFIX = "CHECKPOINTHEAL_"


class AgentSettings(Frozen):
    """All that an agent is told from outside: a token and the job's key, or a token's file and the gateway's root."""

    model_config = ConfigDict(hide_input_in_errors=True)

    job: str = Field(description="Which job the pod belongs to.")
    member: MemberId = Field(description="The pod's own place, as REPLICA/RANK.")
    pod: str = Field(description="Name of the pod.")
    pod_uid: str = Field(description="This life of it.")
    arena: Path = Field(description="Where the arena lies; of several local ranks, the folder that holds theirs.")
    gateway: str = Field(description="URL of the operator.")
    token: str = Field(default="", repr=False, description="What the gateway is shown, over loopback.")
    peer_key: str = Field(default="", repr=False, description="What agents of one job show each other in clear.")
    token_file: Path | None = Field(default=None, description="Where the token lies; another takes its place in time.")
    gateway_root: str = Field(default="", repr=False, description="PEM of the roots to be believed at first.")
    host: str = Field(default="127.0.0.1", description="Where other agents find this one.")
    port: Count = Field(default=0, description="Its port, and the first of several local ranks'. 0: any free one.")
    slots: int = Field(default=2, description="Generations that an arena holds.")
    report_every: Seconds = Field(default=2.0, description="Seconds between two reports where there is no news.")
    private_limit: Count = PRIVATE_AT_MOST
    local_rank: Count = 0
    local_ranks: Count = Field(default=1, description="Trainers of the pod.")

    @property
    def certified(self) -> bool:
        """Whether agents know each other by certificates from the gateway; else by the job's key."""
        return bool(self.gateway_root)

    @classmethod
    def seats(cls, environment: Mapping[str, str]) -> tuple["AgentSettings", ...]:
        """One for each seat of the pod, by local rank. Raises Misuse as `from_environment` does."""
        pod = cls.from_environment(environment)
        try:
            seats = Seats.told(environment)
            pod.last_port(seats.count)
        except ValueError as error:
            raise Misuse(f"a {PREFIX} variable cannot be read: {error}") from error
        return tuple(pod.at(seats, local_rank) for local_rank in range(seats.count))

    def at(self, seats: Seats, local_rank: int) -> "AgentSettings":
        """Of one seat, where these are the whole pod's."""
        return self.but(
            member=seats.member(local_rank),
            pod=seat_name(self.pod, local_rank, seats.count),
            pod_uid=seat_uid(self.pod_uid, local_rank),
            arena=seat_folder(self.arena, local_rank, seats.count),
            port=self.port and self.port + local_rank,
            local_rank=local_rank,
            local_ranks=seats.count,
        )

    def last_port(self, count: int) -> int:
        """The last one of so many seats. Raises ValueError where there is no such port."""
        last = self.port and self.port + count - 1
        if last >= 1 << 16:
            raise ValueError(f"{PREFIX}PORT is {self.port}, and {count} ports from there on go beyond 65535")
        return last

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "AgentSettings":
        """Read what injection, or `checkpointheal local`, has set, for the whole pod; Misuse names what is missing."""

        def read(name: str, default: str | None = None) -> str:
            value = environment.get(PREFIX + name, default)
            if value is None:
                raise _missing(name)
            return value

        try:
            return cls(
                job=read("JOB"),
                member=MemberId.parse(read("MEMBER")),
                pod=read("POD"),
                pod_uid=read("POD_UID"),
                arena=Path(read("ARENA")),
                gateway=read("GATEWAY"),
                host=read("HOST", "127.0.0.1"),
                port=int(read("PORT", "0")),
                slots=int(read("SLOTS", "2")),
                report_every=float(read("REPORT_EVERY", "2")),
                **_credentials(environment),
            )
        except ValueError as error:
            raise Misuse(f"a {PREFIX} variable cannot be read: {error}") from error


def _credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """Of the two sets, the one that is there, whole."""
    by_key, by_certificate = ("TOKEN", "PEER_KEY"), ("TOKEN_FILE", "GATEWAY_ROOT")
    there = {name for name in (*by_key, *by_certificate) if environment.get(PREFIX + name)}
    begun = [names for names in (by_key, by_certificate) if there & {*names}]
    if not begun:
        raise _missing("PEER_KEY", f" (with {PREFIX}TOKEN), nor are {_named(*by_certificate)}")
    if len(begun) == 2:
        raise Misuse(f"{_named(*sorted(there))} are set: either {_named(*by_key)}, or {_named(*by_certificate)}")
    for name in begun[0]:
        if name not in there:
            raise _missing(name)
    if begun[0] is by_certificate and not environment.get(f"{PREFIX}GATEWAY", "https:").startswith("https:"):
        raise Misuse(f"{PREFIX}GATEWAY must begin with https: the token would cross in clear")
    return {name.lower(): environment[PREFIX + name] for name in begun[0]}


def _named(*names: str) -> str:
    return " and ".join(PREFIX + name for name in names)


def _missing(name: str, beside: str = "") -> Misuse:
    remedy = "an agent is started by injection or by `checkpointheal local`"
    return Misuse(f"{PREFIX}{name} is not set{beside}: {remedy}")
