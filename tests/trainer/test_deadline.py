"""A call that nothing frees is left behind once the epoch is over, and not before."""

import threading
from concurrent.futures import Future

import pytest
from torch.distributed import HashStore

from checkpointheal.trainer import deadline
from checkpointheal.trainer.deadline import unless
from checkpointheal.trainer.faults import Faults
from checkpointheal.trainer.groups import Groups

SECONDS = 30.0


def never() -> bool:
    return False


def test_what_a_call_returns_or_raises_is_its_own():
    def raising():
        raise ValueError("its own")

    assert unless(never, lambda: 7) == 7
    with pytest.raises(ValueError, match="its own"):
        unless(never, raising)


def test_its_own_timeout_is_not_taken_for_patience():
    def overdue():
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        unless(never, overdue)


def test_a_result_that_comes_in_the_moment_in_which_it_is_not_waited_for_is_not_lost(monkeypatch: pytest.MonkeyPatch):
    returned = threading.Event()

    class Late(Future[int]):
        """Whoever waits gives up before it comes, and looks up behind it."""

        def result(self, timeout: float | None = None) -> int:
            if timeout is None:
                return super().result()
            assert returned.wait(SECONDS)
            raise TimeoutError

    def call() -> int:
        return 7

    def done(late: Late) -> None:
        returned.set()

    late = Late()
    late.add_done_callback(done)
    monkeypatch.setattr(deadline, "Future", lambda: late)
    assert unless(never, call) == 7


def test_it_is_left_behind_once_that_is_over_and_goes_on_by_itself():
    let, ended, over = threading.Event(), threading.Event(), threading.Event()

    def blocked():
        over.set()
        let.wait(SECONDS)
        ended.set()

    with pytest.raises(RuntimeError, match="it is over before all had come"):
        unless(over.is_set, blocked)
    assert not ended.is_set()
    let.set()
    assert ended.wait(SECONDS)


class Group:
    """As the world's default one, of two ranks."""

    group_name, ranks = "default", (0, 1)


def test_a_group_whose_peer_never_comes_is_left_when_its_epoch_is_over(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    groups, faults = Groups(0, 2), Faults()
    groups._groups.append(Group())
    faults.over = True
    with pytest.raises(RuntimeError, match="it is over before all had come"):
        groups.open(HashStore(), faults, (0, 1))
