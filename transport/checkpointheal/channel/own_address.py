"""At which of this host's addresses do its peers reach it, as gloo would choose? Must not know what is listened for."""

import contextlib
import fcntl
import functools
import ipaddress
import socket
import struct
from pathlib import Path

LOOPBACK = "127.0.0.1"
_SIOCGIFADDR = 0x8915
_IF_INET6 = Path("/proc/net/if_inet6")
_LINK = "20"
"""Addresses of one link mean nothing without the name that the interface has on the peer's side."""


@functools.cache
def own_address(interfaces: str) -> str:
    """An address of this host: an interface's, else its name's, else loopback; of IPv6 where there is no other.

    `interfaces`: one, or several between commas, of which the first that is there counts.
    """
    for interface in filter(None, interfaces.split(",")):
        if (address := _ipv4_of(interface) or _ipv6_of(interface)) is not None:
            return address
    return LOOPBACK if interfaces else _of_name(socket.gethostname())


def listen_at(host: str, port: int = 0) -> socket.socket:
    """A socket that listens at this address, which is no name. Raises OSError."""
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def _ipv4_of(interface: str) -> str | None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        wanted = struct.pack("256s", interface.encode()[:15])
        return socket.inet_ntoa(fcntl.ioctl(asking.fileno(), _SIOCGIFADDR, wanted)[20:24])
    return None


def _ipv6_of(interface: str) -> str | None:
    """From the kernel's table: address, index, prefix, scope, flags, name."""
    with contextlib.suppress(OSError):
        for digits, _, _, scope, _, name in map(str.split, _IF_INET6.read_text().splitlines()):
            if name == interface and scope != _LINK:
                return str(ipaddress.IPv6Address(int(digits, 16)))
    return None


def _of_name(name: str) -> str:
    """The first that can be listened at: a name may stand for an address that this host has no more."""
    with contextlib.suppress(OSError):
        for family, kind, _, _, at in socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM):
            if at[3:] in ((), (0,)):  # no scope, as addresses of one link have
                with contextlib.suppress(OSError), socket.socket(family, kind) as trying:
                    trying.bind(at)
                    return str(at[0])
    return LOOPBACK
