"""Agents' neighbours in a test: peers, settings, assignments, and transfers that do as they are told."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from checkpointheal.agent.errand import Errand, ErrandSays
from checkpointheal.agent.porter import Arrival
from checkpointheal.agent.settings import AgentSettings
from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.orders import Assignment, Peer

KEY = "the job's key"
STATE = Identity(step=7, schema_digest="a" * 32, state_digest="b" * 32)


async def until(holds: Callable[[], object]) -> None:
    """Return once it does. A test's own deadline is the only one."""
    while not holds():
        await asyncio.sleep(0.01)


def a_member(replica: int) -> MemberId:
    return MemberId(replica=replica)


def a_peer(replica: int, port: int = 1) -> Peer:
    """The agent of a pod called after its replica."""
    endpoint = Endpoint(host="127.0.0.1", port=port)
    return Peer(member=a_member(replica), pod=f"trainer-{replica}", pod_uid=f"uid-{replica}", endpoint=endpoint)


def some_settings(arena: Path, replica: int = 0) -> AgentSettings:
    return AgentSettings(
        job="job",
        member=a_member(replica),
        pod=f"trainer-{replica}",
        pod_uid=f"uid-{replica}",
        arena=arena,
        gateway="http://127.0.0.1:1",
        token="token",
        peer_key=KEY,
    )


def injected_settings(home: Path, replica: int, gateway: str, root: str) -> AgentSettings:
    """Of an injected pod: it is known by a token in a file, and certified by that root."""
    file = home / f"token-{replica}"
    file.write_text(f"token-{replica}")
    known = some_settings(home / f"arena-{replica}", replica).model_dump()
    certified = {"token": "", "peer_key": "", "job": "gpt", "token_file": file, "gateway": gateway}
    return AgentSettings(**known | certified | {"gateway_root": root})


def an_assignment(attempt: int = 1, donor_port: int = 1, **changes: object) -> Assignment:
    """Replica 2 receives from replica 0."""
    assignment = Assignment(
        heal="heal-1", attempt=attempt, recipient=a_peer(2), donors=(a_peer(0, donor_port),), deadline=30, **dict(STATE)
    )
    return assignment.model_copy(update=changes)


class Transfers:
    """Instead of children: says what the script says, and remembers each errand. A script that is open never ends."""

    def __init__(self, *script: ErrandSays, ends: bool = True) -> None:
        self.script, self.ends = script, ends
        self.errands: list[Errand] = []
        self.arrivals: list[Arrival | None] = []
        self.ended = 0

    async def run(self, errand: Errand, arrival: Arrival | None = None) -> AsyncGenerator[ErrandSays]:
        self.errands.append(errand)
        self.arrivals.append(arrival)
        try:
            for said in self.script:
                yield said
            if not self.ends:
                await asyncio.Event().wait()
        finally:
            self.ended += 1
