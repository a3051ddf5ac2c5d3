"""Who holds each place of the job on this machine: a pod for each of its pods' places, and another when it is gone.

What a StatefulSet does on a cluster. It knows which pods there are and whose token is whose; it decides nothing about
training.
"""

import asyncio
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.seats import Seats
from checkpointheal_operator.core.facts import PodFacts
from checkpointheal_operator.gateway.caller import Caller
from checkpointheal_operator.local.places import Claim, Site
from checkpointheal_operator.local.pods import Finished, GaveUp, Pod

REPLACE_PAUSE = 0.2
"""Seconds from a pod's end to its successor, so that one that cannot live does not spin."""


@dataclass(frozen=True)
class Outcome:
    """How the job ended: an exit status and one sentence."""

    status: int
    message: str


class Supervisor:
    """All pods, by who sits in their first seats.

    `changed` is called whenever `facts()` has changed, `told` with a sentence about a pod.
    """

    def __init__(
        self, site: Site, clock: Callable[[], float], changed: Callable[[], None], told: Callable[[str], None]
    ) -> None:
        self._site, self._clock, self._changed, self._told = site, clock, changed, told
        self._pods = {seats.member(0): self._new_pod(seats) for seats in site.settings.pods()}
        self._leaving = False

    def pod(self, member: MemberId) -> Pod | None:
        """The pod that holds this place now; None where the job has no such place."""
        return next((pod for pod in self._pods.values() if member in pod.claim.seats.members), None)

    def pods(self) -> tuple[Pod, ...]:
        """All of them, in order of members."""
        return tuple(self._pods[member] for member in sorted(self._pods))

    def facts(self) -> tuple[PodFacts, ...]:
        """What the operator may know of them."""
        return tuple(each for pod in self.pods() for each in _facts(pod).seated(pod.claim.seats))

    async def caller(self, token: str) -> Caller | None:
        """Whose token this is; a pod that is gone has none."""
        for pod in self._pods.values():
            if secrets.compare_digest(pod.claim.token.encode(), token.encode()):
                return Caller(self._site.settings.job, pod.claim.uid, seats=pod.claim.seats)
        return None

    async def run(self) -> Outcome:
        """Keep every place held. Returns when all members have finished or left, or one fails for good."""
        keeping = {asyncio.create_task(self._keep(member), name=str(member)) for member in self._pods}
        try:
            for ended in asyncio.as_completed(keeping):
                if (outcome := await ended) is not None:
                    return outcome
            return Outcome(0, "every member finished")
        finally:
            for each in keeping:
                each.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)

    async def delete(self, member: MemberId) -> str | None:
        """Delete the member's pod, with all its seats: kill it and remove its memory.

        Returns its uid once nothing of it is left.
        """
        pod = self.pod(member)
        if pod is None:
            return None
        deleting = asyncio.create_task(pod.delete())
        await asyncio.sleep(0)  # it is terminating now
        self._changed()
        await deleting
        return pod.claim.uid

    def leave(self) -> None:
        """Ask every trainer to end; `run` returns when all have."""
        self._leaving = True
        for pod in self._pods.values():
            pod.leave()
        self._changed()

    async def _keep(self, member: MemberId) -> Outcome | None:
        """Pod after pod for one place."""
        while not self._leaving:
            pod = self._pods[member]
            end = await pod.run()
            self._changed()
            if isinstance(end, Finished):
                return None
            if isinstance(end, GaveUp):
                return Outcome(end.status, self._why(pod, end))
            if not self._leaving:
                self._told(f"{pod.claim.name}: pod {pod.claim.uid} is gone; a new one takes its place")
                await asyncio.sleep(REPLACE_PAUSE)
                self._pods[member] = self._new_pod(pod.claim.seats)
                self._changed()
        return None

    def _new_pod(self, seats: Seats) -> Pod:
        """Under another uid and token: what the old pod was told or held is nobody's any more."""
        claim = Claim(seats=seats, uid=uuid.uuid4().hex, token=secrets.token_urlsafe(32))
        return Pod(self._site, claim, self._clock, self._told)

    def _why(self, pod: Pod, end: GaveUp) -> str:
        log = self._site.log(pod.claim.name, "run")
        return f"{pod.claim.name} has failed for good, with status {end.status}: see {log}"


def _facts(pod: Pod) -> PodFacts:
    claim = pod.claim
    return PodFacts(
        member=claim.member,
        name=claim.name,
        uid=claim.uid,
        terminating=pod.terminating,
        finished=pod.finished,
        seen_since=pod.born,
    )
