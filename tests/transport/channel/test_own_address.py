"""A host is listened at where gloo would listen, whatever family its addresses are of."""

import errno
import fcntl
import ipaddress
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from checkpointheal.channel import own_address as room
from checkpointheal.channel.own_address import listen_at, own_address

TABLE = """\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000fc0000fffe000001 02 40 20 80     eth0
fd000000000000000000000000000007 02 40 00 80     eth0
fe80000000000000fc0000fffe000002 03 40 20 80     eth1
"""
ELSEWHERE = "2001:db8::7"
"""An address that no host has."""


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    own_address.cache_clear()
    yield
    own_address.cache_clear()


@pytest.fixture
def without_ipv4(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def ask(*_: object) -> bytes:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    table = tmp_path / "if_inet6"
    table.write_text(TABLE)
    monkeypatch.setattr(fcntl, "ioctl", ask)
    monkeypatch.setattr(room, "_IF_INET6", table)


def named(monkeypatch: pytest.MonkeyPatch, *found: tuple[str, int]) -> None:
    """What the host's name stands for: addresses and their scopes."""

    def look_up(*_: object, **__: object) -> Sequence[tuple[object, ...]]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (at, 0, 0, scope))
            if ":" in at
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (at, 0))
            for at, scope in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_the_address_is_the_interfaces_that_gloo_was_told() -> None:
    assert own_address("lo") == "127.0.0.1"
    assert own_address("no such interface") == "127.0.0.1"
    assert own_address("no such interface,lo") == "127.0.0.1"
    ipaddress.ip_address(own_address(""))


def test_of_a_list_of_interfaces_the_first_that_is_there_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(_: int, request: int, wanted: bytes) -> bytes:
        name = wanted.rstrip(b"\0").decode()
        if name not in ("eth7", "lo"):
            raise OSError(errno.ENODEV, "No such device")
        return bytes(20) + bytes([10, 0, 0, 7] if name == "eth7" else [127, 0, 0, 1]) + bytes(232)

    monkeypatch.setattr(fcntl, "ioctl", ask)
    assert own_address("eth6,eth7,lo") == "10.0.0.7"
    assert own_address("lo,eth7") == "127.0.0.1"


@pytest.mark.usefixtures("without_ipv4")
def test_an_interface_that_has_ipv6_alone_is_listened_at_there() -> None:
    assert own_address("eth0") == "fd00::7"
    assert own_address("eth6,eth0") == "fd00::7"


@pytest.mark.usefixtures("without_ipv4")
def test_an_address_of_one_link_is_nobody_elses() -> None:
    assert own_address("eth1,lo") == "::1"


@pytest.mark.usefixtures("without_ipv4")
def test_where_the_kernel_has_no_table_it_is_loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(room, "_IF_INET6", tmp_path / "none")
    assert own_address("eth0") == room.LOOPBACK


def test_a_name_that_stands_for_ipv6_alone_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        listen_at("::1").close()
    except OSError:
        pytest.skip("this host has no IPv6")
    named(monkeypatch, ("::1", 0))
    assert own_address("") == "::1"


def test_of_a_names_addresses_the_first_counts_that_this_host_has(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, (ELSEWHERE, 0), ("fe80::1", 2), ("127.0.0.1", 0))
    assert own_address("") == "127.0.0.1"
    own_address.cache_clear()
    named(monkeypatch, (ELSEWHERE, 0))
    assert own_address("") == room.LOOPBACK
