"""How do processes of this machine get a network of their own, with a link of a given rate for each?

Each has a namespace without a name, and so has the bridge between them. A namespace lives as long as a process in it:
whatever ends this bench, nothing of it is left. Must not know what crosses.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

INTERFACE = "eth0"
"""As every host calls its link."""
_NEW_NETWORK = 0x40000000
_TCP = {"tcp_congestion_control": "cubic", "tcp_limit_output_bytes": "262144"}
"""As a host behind a network card: others would measure the link first; and acknowledgements never wait for long behind
what goes the same way."""
_BURST, _QUEUE = "512kb", "200ms"
"""More than the largest packet that the system hands to a device, and than passes while the processor is busy."""


class NoNetwork(Exception):
    """This machine, or this user, can have no network of its own."""


class Link(NamedTuple):
    """Megabits per second, from the host and to it; None: as fast as it goes."""

    up: int | None = None
    down: int | None = None


def require_permitted() -> None:
    """Raises NoNetwork."""
    if os.geteuid() != 0:
        raise NoNetwork("namespaces need root")
    if missing := [tool for tool in ("ip", "tc", "nsenter") if shutil.which(tool) is None]:
        raise NoNetwork(f"there is no {missing[0]} here")


def leave_for_own() -> None:
    """This process has a network of its own from now on, with nothing in it. Raises NoNetwork."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NETWORK):
        raise NoNetwork(f"no network of its own: {os.strerror(ctypes.get_errno())}")
    for name, value in _TCP.items():
        with contextlib.suppress(OSError):
            (Path("/proc/sys/net/ipv4") / name).write_text(value)


def address(rank: int) -> str:
    """Of the host with this place in the order."""
    return f"10.77.0.{rank + 1}"


def wire(bridge: int, hosts: Sequence[int], links: Sequence[Link]) -> None:
    """Connect the networks of these processes over that of `bridge`. Raises NoNetwork."""
    _in(bridge, "ip", ["link add hub type bridge", "link set hub up"])
    for rank, (host, link) in enumerate(zip(hosts, links, strict=True)):
        port = f"port{rank}"
        made = [f"link add {port} type veth peer name {INTERFACE} netns {host}", f"link set {port} master hub up"]
        _in(bridge, "ip", made)
        up = ["link set lo up", f"addr add {address(rank)}/24 dev {INTERFACE}", f"link set {INTERFACE} up"]
        _in(host, "ip", up)
        _cap(host, INTERFACE, link.up)
        _cap(bridge, port, link.down)


def _cap(process: int, device: str, rate: int | None) -> None:
    if rate is not None:
        _in(process, "tc", [f"qdisc add dev {device} root tbf rate {rate}mbit burst {_BURST} latency {_QUEUE}"])


def _in(process: int, tool: str, lines: Sequence[str]) -> None:
    command = ["nsenter", f"--net=/proc/{process}/ns/net", tool, "-batch", "-"]
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoNetwork(f"{tool}: {done.stderr.strip().partition(chr(10))[0]}")
