"""Which files does the webhook live by, and what follows when somebody replaces one?

Its certificate, and the installation's settings with the gateway's root. A cluster replaces mounted files without a
word, so they are looked at again and again; one that cannot be read is told, and the last good one stays.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from checkpointheal_operator.core.injection_settings import InjectionSettings

log = logging.getLogger("checkpointheal.webhook")


class Certificate:
    """The server's side of TLS; `context` serves new connections with the newest certificate."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises OSError, of which ssl.SSLError is one, where there is no usable certificate to begin with."""
        self._certificate, self._key = certificate, key
        self._seen = self._bytes()
        self.context = _server_context()
        self.context.load_cert_chain(certificate, key)

    def refresh(self) -> bool:
        """Look again; whether there is a new one. Raises OSError where it is not usable, and serves the old one."""
        found = self._bytes()
        if found == self._seen:
            return False
        _server_context().load_cert_chain(self._certificate, self._key)  # a bad pair would spoil the one in use
        self.context.load_cert_chain(self._certificate, self._key)
        self._seen = found
        return True

    def _bytes(self) -> bytes:
        return self._certificate.read_bytes() + b"\0" + self._key.read_bytes()


class Installation:
    """The settings: a JSON file, and the PEM of the gateway's root where that is a file of its own."""

    def __init__(self, settings: Path, root: Path | None, build: str) -> None:
        """Raises OSError and ValidationError where there are no usable settings to begin with."""
        self._settings, self._root, self._build = settings, root, build
        self._current = self._read()

    def current(self) -> InjectionSettings:
        """The last good ones."""
        return self._current

    def refresh(self) -> bool:
        """Look again; whether they are other ones. Raises OSError and ValidationError, and keeps the old ones."""
        found = self._read()
        changed, self._current = found != self._current, found
        return changed

    def _read(self) -> InjectionSettings:
        found = InjectionSettings.model_validate_json(self._settings.read_bytes())
        root = found.gateway_root if self._root is None else _believable(self._root)
        return found.but(gateway_root=root, build=self._build)


def _believable(file: Path) -> str:
    """Raises OSError where it holds no certificate: an agent that is given none ends at once, while its pod lives."""
    roots = file.read_text()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=roots)
    except (ValueError, ssl.SSLError) as error:
        raise OSError(f"{file} holds no certificate in PEM") from error
    return roots


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def look(refreshed: Sequence[Callable[[], bool]]) -> None:
    """Look at each once, and tell what is new or wrong."""
    for refresh in refreshed:
        try:
            if refresh():
                log.info("%s was replaced: the new one is in use", type(getattr(refresh, "__self__", None)).__name__)
        except (OSError, ValidationError) as error:
            log.warning("a replaced file cannot be used, the last good one stays: %s", str(error).partition("\n")[0])


async def look_forever(refreshed: Sequence[Callable[[], bool]], seconds: float) -> None:
    """Look at them every so often, until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        look(refreshed)
