"""A trainer does not wait for its whole timeout at an address where nobody answers any more."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from checkpointheal.trainer import rejoining


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """A listener whose queue is full: whoever else comes is not answered, as at an address that is gone."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                caller.connect(listener.getsockname())
        yield listener


def called_in_vain(address: tuple[str, int], joined: threading.Event, ports: set[int]) -> bool:
    """Whether a call with a long timeout ended before it."""
    ended = threading.Event()

    def call() -> None:
        with contextlib.suppress(OSError), socket.socket() as caller:
            caller.connect(address)
        ended.set()

    threading.Thread(target=call, daemon=True).start()
    rejoining.watch(ports, joined)
    return ended.wait(30 if ports and not joined.is_set() else 1.5)


def test_a_call_that_nobody_answers_is_ended(deaf, monkeypatch):
    monkeypatch.setattr(rejoining, "PATIENCE", 0.3)
    address = deaf.getsockname()
    joined = threading.Event()
    assert called_in_vain(address, joined, {address[1]})
    joined.set()


@pytest.mark.parametrize(("has_joined", "other_port"), [(True, False), (False, True)])
def test_who_has_joined_and_calls_to_other_ports_are_left_alone(deaf, monkeypatch, has_joined, other_port):
    monkeypatch.setattr(rejoining, "PATIENCE", 0.3)
    address = deaf.getsockname()
    joined = threading.Event()
    if has_joined:
        joined.set()
    assert not called_in_vain(address, joined, set() if other_port else {address[1]})
    joined.set()
