"""Where are the authority's roots kept, and how do two replicas never sign under different ones?

In a Secret, which is read before it is used and written under the version that was read: a root counts once it is
written. Must not know who is told of them, or what is signed.
"""

import base64
import binascii
import logging
from collections.abc import Sequence

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.gateway.authority import Authority, Terms, UnreadableRoots
from checkpointheal_operator.gateway.authority.terms import DEFAULT
from checkpointheal_operator.shell.cluster import SECRETS, Cluster, NotThere, Ref

log = logging.getLogger("checkpointheal.operator")

KEY = "roots.pem"


class Roots:
    """The roots of one installation. `hosts` are the names of its gateway."""

    def __init__(self, cluster: Cluster, ref: Ref, hosts: Sequence[str], terms: Terms = DEFAULT) -> None:
        self._cluster, self._ref, self._hosts, self._terms = cluster, ref, tuple(hosts), terms

    async def current(self, now: float) -> Authority:
        """The authority at `now`, in seconds since 1970, written down. Raises ClusterError and UnreadableRoots.

        Where there is none yet it is made. A Conflict or AlreadyThere means that another replica was first: ask again.
        """
        try:
            found = await self._cluster.get(self._ref)
        except NotThere:
            return await self._begin(now)
        authority = Authority.read(text_of(found, KEY), self._hosts, self._terms)
        turned = authority.turned(now)
        if turned is not authority:
            version = found["metadata"]["resourceVersion"]
            await self._cluster.patch(self._ref, {"metadata": {"resourceVersion": version}} | _data(turned))
            log.info("the authority's roots have changed: there are %d now", len(turned.roots))
        return turned

    async def _begin(self, now: float) -> Authority:
        authority = Authority.begin(self._hosts, now, self._terms)
        await self._cluster.create(SECRETS, secret(self._ref, {KEY: authority.text()}))
        log.info("a new authority was made: its roots are in the Secret %s/%s", self._ref.namespace, self._ref.name)
        return authority


def text_of(found: Json, key: str) -> str:
    """One value of a Secret; raises UnreadableRoots, which shows nothing of it."""
    try:
        return base64.b64decode((found.get("data") or {})[key], validate=True).decode()
    except (KeyError, ValueError, binascii.Error) as error:
        raise UnreadableRoots(f"the Secret {found['metadata']['name']} holds no text under {key}") from error


def secret(ref: Ref, texts: dict[str, str], kind: str = "Opaque") -> Json:
    """A Secret as it is created."""
    metadata = {"namespace": ref.namespace, "name": ref.name}
    return {"apiVersion": SECRETS.api, "kind": SECRETS.kind, "metadata": metadata, "type": kind} | encoded(texts)


def encoded(texts: dict[str, str]) -> Json:
    """Its values."""
    return {"data": {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}}


def _data(authority: Authority) -> Json:
    return encoded({KEY: authority.text()})
