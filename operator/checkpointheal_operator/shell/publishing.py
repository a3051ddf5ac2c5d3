"""Who outside this process has to know the authority, and how do they learn of it?

The webhook, which tells new pods the gateway's root and shows a certificate to the API server; and the API server,
which must believe that certificate. What stands there is compared with what should, and written where it differs, so
whatever somebody else removes comes back. Must not know where the roots are kept.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from checkpointheal_operator.api.base import Json
from checkpointheal_operator.gateway.authority import Authority, UnreadableRoots
from checkpointheal_operator.shell.cluster import CONFIG_MAPS, SECRETS, Cluster, NotThere, Ref
from checkpointheal_operator.shell.roots import encoded, secret, text_of

log = logging.getLogger("checkpointheal.operator")

ROOT, CERTIFICATE, PRIVATE_KEY = "root.pem", "tls.crt", "tls.key"
TLS = "kubernetes.io/tls"


@dataclass(frozen=True)
class Webhook:
    """Where the webhook finds its certificate, by which names it is called, and who calls it."""

    secret: Ref
    hosts: Sequence[str]
    configuration: Ref


class Publishing:
    """Writes what others need. Without `webhook`, somebody else certifies it."""

    def __init__(self, cluster: Cluster, root: Ref, webhook: Webhook | None) -> None:
        self._cluster, self._root, self._webhook = cluster, root, webhook

    async def publish(self, authority: Authority, now: float) -> None:
        """Everything that is not as it should be. Raises ClusterError."""
        trusted = authority.trusted(now)
        await self._tell_root(trusted)
        if self._webhook is not None:
            await self._certify(self._webhook, authority, now)
            await self._vouch(self._webhook.configuration, trusted)

    async def _tell_root(self, trusted: str) -> None:
        try:
            found = await self._cluster.get(self._root)
        except NotThere:
            metadata = {"namespace": self._root.namespace, "name": self._root.name}
            body = {"apiVersion": CONFIG_MAPS.api, "kind": CONFIG_MAPS.kind, "metadata": metadata}
            await self._cluster.create(CONFIG_MAPS, body | {"data": {ROOT: trusted}})
        else:
            if (found.get("data") or {}).get(ROOT) != trusted:
                await self._cluster.patch(self._root, {"data": {ROOT: trusted}})
                log.info("new pods are told other roots from now on")

    async def _certify(self, webhook: Webhook, authority: Authority, now: float) -> None:
        try:
            found = await self._cluster.get(webhook.secret)
        except NotThere:
            texts = _certificate(authority, webhook.hosts, now)
            await self._cluster.create(SECRETS, secret(webhook.secret, texts, TLS))
        else:
            if _is_due(found, authority, webhook.hosts, now):
                await self._cluster.patch(webhook.secret, encoded(_certificate(authority, webhook.hosts, now)))
                log.info("the webhook has a new certificate")

    async def _vouch(self, configuration: Ref, trusted: str) -> None:
        """All of its webhooks are named in a merge patch, for it replaces the list."""
        found = await self._cluster.get(configuration)
        bundle = encoded({ROOT: trusted})["data"][ROOT]
        webhooks = [_with_bundle(each, bundle) for each in found.get("webhooks") or ()]
        if webhooks != (found.get("webhooks") or []):
            version = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}}
            await self._cluster.patch(configuration, version | {"webhooks": webhooks})
            log.info("the API server is told whom to believe when it calls the webhook")


def _with_bundle(webhook: Json, bundle: str) -> Json:
    return webhook | {"clientConfig": webhook["clientConfig"] | {"caBundle": bundle}}


def _certificate(authority: Authority, hosts: Sequence[str], now: float) -> dict[str, str]:
    served = authority.serve_others(hosts, now)
    return {CERTIFICATE: served.chain, PRIVATE_KEY: served.key}


def _is_due(found: Json, authority: Authority, hosts: Sequence[str], now: float) -> bool:
    try:
        chain, key = text_of(found, CERTIFICATE), text_of(found, PRIVATE_KEY)
    except UnreadableRoots:
        return True
    return authority.is_due(chain, key, hosts, now)
