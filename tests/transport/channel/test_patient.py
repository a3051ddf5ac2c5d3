"""A wait that is given up leaves its channel, and the ways to others, as they were."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import builders_ends as build
from checkpointheal.channel.group import GroupChannel
from checkpointheal.channel.loopback import LoopBack
from checkpointheal.channel.patient import Patient
from checkpointheal.errors import Overdue, PeerLost


def a_message(byte: int) -> torch.Tensor:
    return torch.full((8,), byte, dtype=torch.uint8)


def test_a_wait_over_gloo_that_was_given_up_is_over_once_its_message_comes_and_others_go_on_meanwhile() -> None:
    groups = build.gloo_groups(3)
    silent, lively = (Patient(GroupChannel(groups[0], peer), peer) for peer in (1, 2))
    late, soon = a_message(0), a_message(0)
    owed = silent.receive(late)
    with pytest.raises(Overdue, match=r"from or went to rank 1 for 0\.1 s"):
        owed.wait(0.1)
    sent = GroupChannel(groups[2], 0).send(a_message(2))
    lively.receive(soon).wait(20)
    sent.wait(20)
    GroupChannel(groups[1], 0).send(a_message(1)).wait(20)
    owed.wait(20)
    assert (late[0], soon[0]) == (1, 2)


def test_what_ends_a_wait_is_raised_where_it_is_waited_for() -> None:
    here, there = LoopBack.pair()
    there.close()
    with pytest.raises(PeerLost):
        Patient(here, 1).receive(a_message(0)).wait(20)


def test_no_thread_is_left_once_nothing_is_owed() -> None:
    here, there = LoopBack.pair()
    patient = Patient(here, 1)
    for byte in range(3):
        there.send(a_message(byte))
        patient.receive(a_message(0)).wait(20)
    while (thread := patient._thread) is not None:
        thread.join(20)
        assert not thread.is_alive()


def test_to_close_it_closes_the_channel() -> None:
    here, there = LoopBack.pair()
    Patient(here, 1).close()
    with pytest.raises(PeerLost):
        there.receive(a_message(0)).wait(1)


GAVE_UP = """
import builders_ends, torch
from checkpointheal.channel.group import GroupChannel
from checkpointheal.channel.patient import Patient
groups = builders_ends.gloo_groups(2)
Patient(GroupChannel(groups[0], 1), 1).receive(torch.empty(8, dtype=torch.uint8))
print("done")
"""
CANCELLED = """
import builders_ends, builders_pg, os, signal, threading
from checkpointheal.errors import Abandoned
groups = builders_ends.gloo_groups(2, seconds=60)
receiver = builders_pg.a_transport(builders_pg.Recording(groups[0], lambda number: number and began.set()), seconds=60)
began = threading.Event()
def stop(*_):
    receiver.cancel()
    print("done", flush=True)
    raise SystemExit(0)
signal.signal(signal.SIGTERM, stop)
def terminate():
    began.wait(60)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=terminate).start()
receiver.recv_checkpoint(1)
"""


@pytest.mark.parametrize("program", [GAVE_UP, CANCELLED], ids=["gave up a rank", "cancelled a call"])
def test_a_program_that_left_a_wait_ends_as_it_would_without(program: str) -> None:
    """Its groups are taken down while a thread waits inside torch."""
    tests = Path(__file__).parents[2]
    folders = [str(tests), str(tests.parent / "transport"), str(tests.parent / "operator")]
    program = f"import sys; sys.path[:0] = {folders!r}\n{program}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr
