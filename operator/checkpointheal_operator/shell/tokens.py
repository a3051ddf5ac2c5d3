"""Whose token is this? The API server says which pod it is bound to, the pod says its job.

Asked once a minute per token, by its hash: the token itself is not kept. A token that is bound to no pod is nobody's.
Who has a good one, and who has none, can make neither the API server nor the log busy by coming often.
Must not know what the caller wants.
"""

import asyncio
import logging
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from checkpointheal.contract.log_lines import about
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.core.identity import Placed, Unplaced, place
from checkpointheal_operator.core.pod_manifest import Metadata
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.gateway.caller import Caller
from checkpointheal_operator.gateway.pace import Share
from checkpointheal_operator.shell.cluster import PODS, Cluster, ClusterError, Kind, NotThere, Ref, TooManyRequests
from checkpointheal_operator.shell.mirror import Mirror
from checkpointheal_operator.shell.refusals import Refusals

log = logging.getLogger("checkpointheal.gateway")

TOKEN_REVIEWS = Kind("authentication.k8s.io/v1", "TokenReview", "tokenreviews")
BOUND = "authentication.kubernetes.io/"
ACCOUNT = "system:serviceaccount:"
KEPT_SECONDS, REFUSED_SECONDS = 60.0, 5.0
"""A good token is believed for a minute; one that is not may be good soon, where an API server is behind."""
LONGEST = 300
"""Characters of the API server's words that are passed on."""
LINES_A_SECOND, LINES_AT_ONCE = 0.2, 20.0
"""Of the log, about tokens that were refused."""
REVIEWS_AT_ONCE = 16
"""A new leader is asked by everybody at once; the API server shall not be."""


class Bound(NamedTuple):
    """The pod that a token is bound to."""

    namespace: str
    name: str
    uid: str


class Tokens:
    """Tells callers. `clock` tells seconds that only grow."""

    def __init__(
        self,
        cluster: Cluster,
        pods: Mirror,
        audience: str,
        clock: Callable[[], float],
        reviewed: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self._reviewed = reviewed
        self._cluster, self._pods, self._audience, self._clock = cluster, pods, audience, clock
        self._known: dict[bytes, tuple[float, Bound | None]] = {}
        self._asking: dict[bytes, asyncio.Task[Bound | None]] = {}
        self._places: dict[str, tuple[str, Placed | Unplaced]] = {}
        self._unseen: dict[str, tuple[float, Json | None]] = {}
        self._told_unplaced: dict[str, float] = {}
        self._refusals = Refusals(pods, clock)
        self._lines = Share(LINES_A_SECOND, LINES_AT_ONCE, clock())
        self._at_once = asyncio.Semaphore(REVIEWS_AT_ONCE)
        self._told = ""

    async def caller(self, token: str) -> Caller | None:
        """Whom it stands for; None where it is nobody's. Raises ClusterError where nobody can tell now."""
        bound = await self._bound(token)
        if bound is None:
            return None
        pod = await self._pod(bound)
        found = self._place(pod) if pod is not None else None
        if pod is not None and isinstance(found, Placed):
            host = pod.get("status", {}).get("podIP", "")
            return Caller(found.job, bound.uid, bound.namespace, found.member, host, found.seats)
        reason, message = (
            ("PodGone", "it is gone") if not isinstance(found, Unplaced) else (found.reason, found.message)
        )
        if self._clock() >= self._told_unplaced.get(bound.uid, float("-inf")):
            self._told_unplaced[bound.uid] = self._clock() + KEPT_SECONDS
            facts = about(namespace=bound.namespace, pod=bound.name, reason=reason)
            log.warning("a pod has no place in a job: %s", message, extra=facts)
        return None

    def _place(self, pod: Json) -> Placed | Unplaced:
        """Found once for each version of the pod: its agent speaks every other second."""
        uid, version = pod["metadata"]["uid"], pod["metadata"]["resourceVersion"]
        known = self._places.get(uid)
        if known is None or known[0] != version:
            known = self._places[uid] = version, place(Metadata.model_validate(pod["metadata"]))
        return known[1]

    async def _bound(self, token: str) -> Bound | None:
        """Of many who ask at once for the same token, one asks the API server."""
        key = sha256(token.encode()).digest()
        until, bound = self._known.get(key, (0.0, None))
        if self._clock() < until:
            return bound
        if key not in self._asking:
            self._asking[key] = asyncio.create_task(self._review(key, token))
            self._asking[key].add_done_callback(lambda _done: self._asking.pop(key))
        return await asyncio.shield(self._asking[key])

    async def _review(self, key: bytes, token: str) -> Bound | None:
        spec = {"token": token, "audiences": [self._audience]}
        body = {"apiVersion": TOKEN_REVIEWS.api, "kind": TOKEN_REVIEWS.kind, "spec": spec}
        try:
            async with self._at_once:
                if not self._refusals.may_ask(token):
                    raise TooManyRequests("too many tokens are refused now")
                answer = await self._cluster.create(TOKEN_REVIEWS, body)
        except ClusterError as error:
            self._reviewed("unknown")
            self._tell(error)
            raise
        self._told = ""
        status = answer.get("status", {})
        bound = bound_to(status, self._audience)
        if bound is None:
            self._refusals.count(token)
        if bound is None and self._lines.spend(self._clock()):
            message = Reason.TOKEN_REFUSED.tell(what=why_nobodys(status))
            log.warning("%s", message, extra=about(reason=Reason.TOKEN_REFUSED))
        self._reviewed("nobody's" if bound is None else "a pod's")
        self._keep(key, bound)
        return bound

    def _keep(self, key: bytes, bound: Bound | None) -> None:
        now = self._clock()
        self._known = {each: kept for each, kept in self._known.items() if now < kept[0]}
        alive = {each.uid for _, each in self._known.values() if each is not None}
        self._places = {uid: found for uid, found in self._places.items() if uid in alive}
        self._unseen = {uid: found for uid, found in self._unseen.items() if now < found[0]}
        self._told_unplaced = {uid: until for uid, until in self._told_unplaced.items() if now < until}
        self._known[key] = (now + (REFUSED_SECONDS if bound is None else KEPT_SECONDS), bound)

    def _tell(self, error: ClusterError) -> None:
        """Once for each reason, until one is reviewed again: every agent asks, and asks again."""
        if error.reason != self._told:
            self._told = error.reason
            log.warning("nobody can tell now whose a token is: %s: %s", error.reason, error)

    async def _pod(self, bound: Bound) -> Json | None:
        """A pod may speak before the watch has told of it; of one that never will, it is asked once in a while."""
        pod = self._pods.by_uid(bound.uid)
        if pod is not None:
            return pod
        until, kept = self._unseen.get(bound.uid, (float("-inf"), None))
        if self._clock() < until:
            return kept
        found = await self._found(bound)
        settled = found is not None and bool(found.get("status", {}).get("podIP"))
        self._unseen[bound.uid] = self._clock() + (KEPT_SECONDS if settled else REFUSED_SECONDS), found
        return found

    async def _found(self, bound: Bound) -> Json | None:
        try:
            pod = await self._cluster.get(Ref(PODS, bound.namespace, bound.name))
        except NotThere:
            return None
        return pod if pod["metadata"]["uid"] == bound.uid else None


def bound_to(status: Json, audience: str) -> Bound | None:
    """The pod that a reviewed token is bound to, if it is good, for us, and a pod's."""
    if not status.get("authenticated") or audience not in status.get("audiences", ()):
        return None
    user = status.get("user", {})
    account, extra = user.get("username", ""), user.get("extra") or {}
    names, uids = extra.get(BOUND + "pod-name") or [], extra.get(BOUND + "pod-uid") or []
    if not account.startswith(ACCOUNT) or len(names) != 1 or len(uids) != 1:
        return None
    return Bound(account.removeprefix(ACCOUNT).partition(":")[0], names[0], uids[0])


def why_nobodys(status: Json) -> str:
    """What is wrong with a token that `bound_to` finds bound to nobody, in the API server's words where it has any."""
    if not status.get("authenticated"):
        return str(status.get("error") or "the API server does not know it")[:LONGEST]
    return f"it is {status.get('user', {}).get('username', '')}'s, but bound to no pod, or not meant for us"
