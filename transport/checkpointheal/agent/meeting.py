"""Where do a donor and a recipient meet?

The donor opens a TCP store of its own for each attempt; both sides find the lifeline and the process group in it, under
a prefix that holds heal and attempt, so that a stale peer meets nobody. Must not know what is transferred.
"""

import contextlib
import hmac
import secrets
import socket
import time
from datetime import timedelta

from torch.distributed import PrefixStore, ProcessGroupGloo, Store, TCPStore  # type: ignore[attr-defined]

from checkpointheal.channel.group import GroupChannel
from checkpointheal.channel.own_address import listen_at
from checkpointheal.errors import Overdue, PeerLost

DONOR, RECIPIENT = 0, 1
ARRIVAL_SECONDS = 30.0
"""A recipient whose agent has just started loads torch first."""
_KEY = "lifeline"
_NONCE_BYTES = 16


class Meeting:
    """The donor's side: a store and a listening socket, both on `host` alone."""

    def __init__(self, host: str, prefix: str, seconds: float) -> None:
        self._host, self._seconds = host, min(seconds, ARRIVAL_SECONDS)
        self._nonce = secrets.token_bytes(_NONCE_BYTES)
        self._listener, door = listen_at(host), listen_at(host)
        self.store_port: int = door.getsockname()[1]
        # torch listens on every address unless it is given a socket. Not libuv: Debian's torch is built without it.
        tcp = TCPStore(
            host,
            self.store_port,
            is_master=True,
            wait_for_workers=False,
            timeout=timedelta(seconds=self._seconds),
            master_listen_fd=door.detach(),
            use_libuv=False,
        )
        self._store = PrefixStore(prefix, tcp)
        self._store.set(_KEY, f"{self._listener.getsockname()[1]} {self._nonce.hex()}")

    def lifeline(self) -> socket.socket:
        """The recipient's connection. Raises Overdue where it does not come."""
        end = time.monotonic() + self._seconds
        with self._listener:
            while (left := end - time.monotonic()) > 0:
                self._listener.settimeout(left)
                with contextlib.suppress(OSError):
                    guest, _ = self._listener.accept()
                    if self._knows(guest):
                        return guest
                    guest.close()
        raise Overdue(f"the recipient did not come within {self._seconds:.0f} s")

    def channel(self) -> GroupChannel:
        """The group. Raises PeerLost."""
        return _channel(self._store, DONOR, self._host, self._seconds)

    def _knows(self, guest: socket.socket) -> bool:
        guest.settimeout(2.0)
        shown = guest.recv(_NONCE_BYTES, socket.MSG_WAITALL)
        guest.settimeout(None)
        return hmac.compare_digest(shown, self._nonce)


class Visit:
    """The recipient's side."""

    def __init__(self, host: str, store_port: int, prefix: str, seconds: float) -> None:
        """Raises PeerLost where the donor does not listen."""
        self._seconds = min(seconds, ARRIVAL_SECONDS)
        try:
            # It listens already, or never again: torch would knock until its timeout, and complain at length.
            socket.create_connection((host, store_port), self._seconds).close()
            tcp = TCPStore(
                host,
                store_port,
                is_master=False,
                wait_for_workers=False,
                timeout=timedelta(seconds=self._seconds),
                use_libuv=False,
            )
            self._store = PrefixStore(prefix, tcp)
            port, nonce = self._store.get(_KEY).decode().split()
            self._connection = socket.create_connection((host, int(port)), self._seconds)
        except (RuntimeError, OSError, ValueError) as error:
            raise PeerLost(f"the donor at {host}:{store_port} does not answer: {_first_line(error)}") from error
        self._connection.settimeout(None)
        self._connection.sendall(bytes.fromhex(nonce))

    def lifeline(self) -> socket.socket:
        """The connection to the donor."""
        return self._connection

    def channel(self) -> GroupChannel:
        """The group, bound to the address from which the donor is reached. Raises PeerLost."""
        return _channel(self._store, RECIPIENT, self._connection.getsockname()[0], self._seconds)


def _channel(store: Store, rank: int, host: str, seconds: float) -> GroupChannel:
    options = ProcessGroupGloo._Options()  # type: ignore[attr-defined] # noqa: SLF001 torch gives no other way to bind gloo to an address
    options._devices = [ProcessGroupGloo.create_device(hostname=host)]  # noqa: SLF001
    options._timeout = timedelta(seconds=seconds)  # noqa: SLF001
    try:
        group = ProcessGroupGloo(store, rank, 2, options)
    except RuntimeError as error:
        raise PeerLost(f"the process group could not be formed: {_first_line(error)}") from error
    return GroupChannel(group, 1 - rank)  # type: ignore[arg-type]  # a backend sends and receives like its group


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
