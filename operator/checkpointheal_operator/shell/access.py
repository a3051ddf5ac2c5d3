"""Where is the API server, and as whom do we speak to it, inside a cluster?

The token is read at every request: the kubelet replaces it long before it expires, and a small file in memory costs
nothing. Must not know what is asked.
"""

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import aiohttp

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class NoCluster(Exception):
    """This process does not run in a cluster."""


class Access(NamedTuple):
    """An API server, its trust, and a token that may be another one at each request; empty where none is needed."""

    url: str
    token: Callable[[], str]
    tls: ssl.SSLContext | None = None
    proxy: str | None = None
    server_name: str | None = None
    """The name in the server's certificate, where it is not the URL's."""

    def session(self) -> aiohttp.ClientSession:
        """Connections to it, each request signed with the token of its moment. The caller closes it."""

        async def sign(request: aiohttp.ClientRequest, go_on: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            if token := self.token():
                request.headers["Authorization"] = f"Bearer {token}"
            if self.server_name is not None:
                request.server_hostname = self.server_name
            return await go_on(request)

        tls = True if self.tls is None else self.tls
        connector = aiohttp.TCPConnector(ssl=tls, limit=0)
        return aiohttp.ClientSession(connector=connector, middlewares=(sign,), proxy=self.proxy)


def in_cluster(environment: Mapping[str, str], account: Path = ACCOUNT) -> Access:
    """As the service account of this pod. Raises NoCluster."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "443")
    root, token = account / "ca.crt", account / "token"
    if not host or not root.exists():
        raise NoCluster(f"no API server: KUBERNETES_SERVICE_HOST is not set, or there is no {root}")
    where = f"[{host}]" if ":" in host else host
    return Access(f"https://{where}:{port}", lambda: token.read_text().strip(), ssl.create_default_context(cafile=root))
