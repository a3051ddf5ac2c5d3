"""What does this agent's environment say about its pod, its arena and its operator?"""

from collections.abc import Mapping
from pathlib import Path

from checkpointheal.contract.base import Count, Frozen, Seconds
from checkpointheal.contract.identity import MemberId
from checkpointheal.errors import Misuse


class AgentSettings(Frozen):
    """All that an agent is told from outside."""

    job: str
    member: MemberId
    pod: str
    pod_uid: str
    arena: Path
    gateway: str
    token: str
    peer_key: str
    host: str = "127.0.0.1"
    port: Count = 0
    slots: int = 2
    report_every: Seconds = 1.0
    private_limit: Count = 4 << 20

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "AgentSettings":
        """Read what injection, or `checkpointheal local`, has set; Misuse names what is missing."""

        def read(name: str, default: str | None = None) -> str:
            value = environment.get(f"CHECKPOINTHEAL_{name}", default)
            if value is None:
                raise Misuse(
                    f"CHECKPOINTHEAL_{name} is not set: an agent is started by injection or by `checkpointheal local`"
                )
            return value

        try:
            return cls(
                job=read("JOB"),
                member=MemberId.parse(read("MEMBER")),
                pod=read("POD"),
                pod_uid=read("POD_UID"),
                arena=Path(read("ARENA")),
                gateway=read("GATEWAY"),
                token=read("TOKEN"),
                peer_key=read("PEER_KEY"),
                host=read("HOST", "127.0.0.1"),
                port=int(read("PORT", "0")),
                slots=int(read("SLOTS", "2")),
                report_every=float(read("REPORT_EVERY", "1")),
            )
        except ValueError as error:
            raise Misuse(f"a CHECKPOINTHEAL_ variable cannot be read: {error}") from error
