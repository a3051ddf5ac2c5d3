"""A rank that waits for ranks which are gone comes free; whatever else the process has open is left alone."""

import os
import signal
import socket
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from checkpointheal.trainer.agreement import Standing, agree
from checkpointheal.trainer.collectives import Baseline, end_collectives
from children import fork, wait

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

RANKS = 3
FREED, STUCK = 0, 3
FAR = timedelta(seconds=600)
SECONDS = 60.0


def reduce_at_once():
    tensor = torch.ones(100_000)
    return lambda: dist.all_reduce(tensor)


def reduce_and_wait():
    tensor = torch.ones(100_000)
    return lambda: dist.all_reduce(tensor, async_op=True).wait()


def go_backward():
    """As a reducer does: the collective begins on autograd's thread."""
    weight = torch.ones(1000, requires_grad=True)
    weight.register_hook(lambda gradient: dist.all_reduce(gradient.clone()))
    return lambda: weight.sum().backward()


def come_to_agree():
    return lambda: agree(Standing(True, 1, 1, "a" * 32), None)


ACTS = {"all_reduce": reduce_at_once, "async": reduce_and_wait, "backward": go_backward, "agree": come_to_agree}


class Job:
    """Ranks 0 and 1 go on until they come free; rank 2 falls, by SIGKILL or SIGSTOP, in its fourth round."""

    def __init__(self, rendezvous: str, make, fall: signal.Signals) -> None:
        self._rendezvous, self._make, self._fall = rendezvous, make, fall
        self._told, self._tell = os.pipe()
        self.children = [fork(lambda rank=rank: self._train(rank)) for rank in range(RANKS)]
        os.close(self._told)

    def wait_until_fallen(self) -> None:
        os.waitpid(self.children[2], os.WUNTRACED)

    def tell_the_others(self) -> None:
        os.close(self._tell)

    def end(self) -> list[int]:
        statuses = [wait(child) for child in self.children[:2]]
        if self._fall is signal.SIGSTOP:
            os.kill(self.children[2], signal.SIGKILL)
            wait(self.children[2])
        return statuses

    def _train(self, rank: int) -> None:
        torch.set_num_threads(1)
        os.close(self._tell)
        baseline = Baseline.take()
        dist.init_process_group("gloo", init_method=self._rendezvous, rank=rank, world_size=RANKS, timeout=FAR)
        act = self._make()
        threading.Thread(target=self._press_when_told, args=(baseline,), daemon=True).start()
        threading.Timer(SECONDS, os._exit, (STUCK,)).start()
        for round_ in range(1_000_000):
            if rank == 2 and round_ == 3:
                os.kill(os.getpid(), self._fall)
            try:
                act()
            except RuntimeError:
                os._exit(FREED)

    def _press_when_told(self, baseline: Baseline) -> None:
        os.read(self._told, 1)
        while True:
            end_collectives(baseline)


@pytest.mark.parametrize("make", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("fall", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_whoever_waits_for_a_rank_that_fell_comes_free(tmp_path, make, fall):
    job = Job(f"file://{tmp_path}/store", make, fall)
    job.wait_until_fallen()
    job.tell_the_others()
    assert job.end() == [FREED, FREED]


def test_whoever_waits_for_a_rank_that_never_came_is_free_too():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    told, tell = os.pipe()

    def join(rank):
        os.close(tell)
        baseline = Baseline.take()

        def press():
            os.read(told, 1)
            while True:
                end_collectives(baseline, {port})

        threading.Thread(target=press, daemon=True).start()
        threading.Timer(SECONDS, os._exit, (STUCK,)).start()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the store's client prints a C++ trace of its own
        try:
            dist.init_process_group(
                "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS, timeout=FAR
            )
        except (RuntimeError, dist.DistError):
            os._exit(FREED)

    children = [fork(lambda rank=rank: join(rank)) for rank in range(2)]
    os.close(told)
    until_connected(port, 2)  # a rank that comes when rank 0 is gone would call it until its timeout
    os.close(tell)
    assert [wait(child) for child in children] == [FREED, FREED]


def until_connected(port, number):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        tables = (Path(each).read_text() for each in ("/proc/net/tcp", "/proc/net/tcp6"))
        rows = [row.split() for table in tables for row in table.splitlines()[1:]]
        if sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows) >= number:
            return
        time.sleep(0.01)


def a_connection():
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    return near, far


def lives(near, far) -> bool:
    """Whether a byte still crosses; `near` may be a bare descriptor."""
    with socket.socket(fileno=os.dup(near if isinstance(near, int) else near.fileno())) as borrowed:
        borrowed.sendall(b"x")
        return far.recv(1) == b"x"


def disowned(connection: socket.socket) -> int:
    """The same connection, as C++ code would have it: a bare descriptor."""
    return connection.detach()


def test_only_connections_that_came_later_and_that_python_does_not_own_are_shut_down():
    early_near, early_far = a_connection()
    early = disowned(early_near)
    baseline = Baseline.take()
    near, far = a_connection()
    foreign_near, foreign_far = a_connection()
    foreign = disowned(foreign_near)
    pair = socket.socketpair()
    unix = disowned(pair[0])
    listening = socket.create_server(("127.0.0.1", 0))
    try:
        assert end_collectives(baseline) == 1
        assert end_collectives(baseline) == 0
        assert foreign_far.recv(1) == b""
        assert lives(near, far)
        assert lives(early, early_far)
        assert lives(unix, pair[1])
        socket.create_connection(listening.getsockname()).close()
    finally:
        for fd in (early, foreign, unix):
            os.close(fd)
        for each in (early_far, near, far, foreign_far, pair[1], listening):
            each.close()


def test_connections_to_the_rendezvous_come_last():
    baseline = Baseline.take()
    near, far = a_connection()
    store_near, store_far = a_connection()
    port = store_near.getpeername()[1]
    fds = [disowned(near), disowned(store_near)]
    try:
        assert end_collectives(baseline, {port}) == 1
        assert far.recv(1) == b""
        assert lives(fds[1], store_far)
        far.close()
        assert end_collectives(baseline, {port}) == 1
        assert store_far.recv(1) == b""
    finally:
        for fd in fds:
            os.close(fd)
        far.close()
        store_far.close()
