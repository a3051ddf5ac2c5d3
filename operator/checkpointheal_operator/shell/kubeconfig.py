"""Where is the API server, and as whom do we speak to it, on somebody's machine?

The official client's loader, because a kubeconfig may name a program that logs in, and there are many of those. Only
its configuration is used: objects stay plain JSON. Must not know what is asked.
"""

import ssl
from collections.abc import Callable
from pathlib import Path

from kubernetes import client, config

from checkpointheal_operator.shell.access import Access, NoCluster

BEARER = "Bearer "


def from_kubeconfig(path: Path | None = None) -> Access:
    """As the kubeconfig's current context says; without a path, where kubectl looks. Raises NoCluster."""
    found = client.Configuration()
    try:
        load: Callable[..., None] = config.load_kube_config
        load(str(path) if path else None, client_configuration=found)
    except (config.ConfigException, OSError) as error:
        raise NoCluster(f"no API server: {error}") from error
    return Access(found.host, lambda: _token(found), _tls(found) if found.host.startswith("https") else None)


def _token(found: client.Configuration) -> str:
    """Whoever logs in looks by itself whether the token still holds."""
    signed = found.get_api_key_with_prefix("authorization") or found.get_api_key_with_prefix("BearerToken") or ""
    return str(signed).removeprefix(BEARER)


def _tls(found: client.Configuration) -> ssl.SSLContext:
    tls = ssl.create_default_context(cafile=found.ssl_ca_cert)
    if not found.verify_ssl:
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if found.cert_file:
        tls.load_cert_chain(found.cert_file, found.key_file)
    return tls
