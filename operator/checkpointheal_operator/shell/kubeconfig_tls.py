"""Whom do we trust, and what do we show, by the certificates of a kubeconfig?

They stand in it as base64, or it names files. Must not know where the kubeconfig came from.
"""

import binascii
import contextlib
import os
import ssl
import tempfile
from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from checkpointheal_operator.shell.access import NoCluster


class KeyPair(NamedTuple):
    """A client certificate and its key, both PEM."""

    certificate: bytes
    key: bytes

    @classmethod
    def of(cls, user: Mapping[str, Any], folder: Path) -> Self | None:
        """What the kubeconfig's user shows; None where it shows nothing. Raises NoCluster."""
        certificate = bytes_of(user, "client-certificate", folder)
        key = bytes_of(user, "client-key", folder)
        return cls(certificate, key) if certificate and key else None


def bytes_of(said: Mapping[str, Any], name: str, folder: Path) -> bytes | None:
    """The field `name`-data, else the file that the field `name` names. Raises NoCluster."""
    try:
        if data := said.get(f"{name}-data"):
            return b64decode(str(data), validate=True)
        return (folder / Path(str(file)).expanduser()).read_bytes() if (file := said.get(name)) else None
    except (OSError, binascii.Error) as error:
        raise NoCluster(f"the kubeconfig's {name} cannot be read: {error}") from error


def tls_of(cluster: Mapping[str, Any], folder: Path, keys: KeyPair | None) -> ssl.SSLContext:
    """As the kubeconfig's cluster says, showing `keys`. Raises NoCluster."""
    root = bytes_of(cluster, "certificate-authority", folder)
    try:
        tls = ssl.create_default_context(cadata=root.decode("ascii") if root else None)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise NoCluster(f"the kubeconfig's certificate-authority is no certificate: {error}") from error
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT  # newer Pythons ask for more than clusters' own roots have
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if keys is not None:
        _show(tls, keys)
    return tls


def _show(tls: ssl.SSLContext, keys: KeyPair) -> None:
    with _as_file(keys.certificate + b"\n" + keys.key) as file:
        try:
            tls.load_cert_chain(file)
        except ssl.SSLError as error:
            raise NoCluster(f"the kubeconfig's client certificate and key do not fit: {error}") from error


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """The standard library takes keys from files only; this one is ours alone and lives for a moment."""
    handle, name = tempfile.mkstemp()
    try:
        with open(handle, "wb") as file:
            file.write(content)
        yield name
    finally:
        os.unlink(name)
