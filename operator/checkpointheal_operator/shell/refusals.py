"""How many tokens that are nobody's are shown to the API server, when anybody may come with some?

Each that was refused counts. A token says itself which pod it is bound to; it may lie, but only for a pod of ours it is
counted apart, so that whoever makes up tokens keeps no agent waiting that comes with its first. Must not know how
tokens are reviewed.
"""

import base64
import json
from collections.abc import Callable

from checkpointheal_operator.gateway.pace import Share
from checkpointheal_operator.shell.mirror import Mirror

A_SECOND, AT_ONCE = 20.0, 200.0
"""Of all tokens that name no pod of ours."""
OF_A_POD, OF_A_POD_AT_ONCE = 1.0, 20.0
"""Of those that name this one. Beyond it they are counted with all others."""


class Refusals:
    """Of one replica. `clock` tells seconds that only grow."""

    def __init__(self, pods: Mirror, clock: Callable[[], float]) -> None:
        self._pods, self._clock = pods, clock
        self._common = Share(A_SECOND, AT_ONCE, clock())
        self._by_pod: dict[str, Share] = {}

    def may_ask(self, token: str) -> bool:
        """Whether the API server may be shown another one like this."""
        return any(share.left >= 1 for share in self._shares(token))

    def count(self, token: str) -> None:
        """It was refused."""
        now = self._clock()
        for share in self._shares(token):
            if share.spend(now):
                return

    def _shares(self, token: str) -> tuple[Share, ...]:
        now = self._clock()
        uid = claimed_pod(token)
        found = self._of(uid, now) if uid and self._pods.by_uid(uid) is not None else None
        shares = (self._common,) if found is None else (found, self._common)
        for each in shares:
            each.fill(now)
        return shares

    def _of(self, uid: str, now: float) -> Share:
        self._by_pod = {each: share for each, share in self._by_pod.items() if self._pods.by_uid(each) is not None}
        return self._by_pod.setdefault(uid, Share(OF_A_POD, OF_A_POD_AT_ONCE, now))


def claimed_pod(token: str) -> str:
    """The UID of the pod that it says it is bound to; empty where it says none. Nothing of it is verified."""
    try:
        _, payload, _ = token.split(".")
        said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(said["kubernetes.io"]["pod"]["uid"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
