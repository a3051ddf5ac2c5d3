"""A group that stays: what is inside carries, what is lost is noted, and while nobody is inside it is a mirror."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from checkpointheal.errors import EpochOver, Misuse, PeersDone, TorchTooOld
from checkpointheal.trainer import work as work_room
from checkpointheal.trainer.faults import Faults
from checkpointheal.trainer.groups import Groups, require_torch
from checkpointheal.trainer.inside import make_inside
from checkpointheal.trainer.stable_group import StableGroup, can_be_smaller
from checkpointheal.trainer.work import Finished, Lenient
from children import fork, wait

SAFETY = 60.0


@pytest.fixture(autouse=True, params=["an older torch", "this torch"])
def torch_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an older one needs is right under any."""
    if request.param == "an older torch":
        monkeypatch.setattr(work_room, "KEEPS_ITS_PYTHON", False)


class Inner:
    """Work that ends as it is told to."""

    def __init__(self, fails: Exception | None = None, refuses: Exception | None = None) -> None:
        self.fails, self.refuses = fails, refuses
        self.carried: list[str] = []

    def __getattr__(self, collective: str) -> Any:
        def carry(*_arguments: Any, **_named: Any) -> Any:
            self.carried.append(collective)
            if self.refuses is not None:
                raise self.refuses
            return self

        return carry

    def wait(self, *_timeout: Any) -> bool:
        if self.fails is not None:
            raise self.fails
        return True

    def get_future(self) -> "torch.futures.Future[Any]":
        future: torch.futures.Future[Any] = torch.futures.Future()
        if self.fails is None:
            future.set_result([])
        else:
            future.set_exception(self.fails)
        return future


LOST = RuntimeError("[gloo] Connection closed by peer")


def a_group(inner: Inner | None, faults: Faults | None = None) -> StableGroup:
    group = StableGroup("default", 0, 3)
    group.fill(inner, faults or Faults())
    return group


def test_a_collective_is_carried_by_what_is_inside() -> None:
    inner, faults = Inner(), Faults()
    work = a_group(inner, faults).allreduce([torch.ones(2)])
    assert work.wait()
    assert inner.carried == ["allreduce"]
    assert not faults.is_lost


@pytest.mark.parametrize("how", ["waited for", "as a future"])
def test_one_that_is_lost_ends_without_an_error_and_is_noted(how: str) -> None:
    faults, tensor = Faults(), torch.ones(2)
    work = a_group(Inner(fails=LOST), faults).allreduce([tensor])
    if how == "waited for":
        work.wait()
    else:
        assert work.get_future().wait()[0] is tensor
    assert isinstance(faults.noted, RuntimeError)


def test_one_that_has_no_future_is_waited_for_all_the_same() -> None:
    class OfTwo(Inner):
        def get_future(self) -> Any:
            raise RuntimeError("Work::getFuture not implemented")

    faults = Faults()
    a_group(OfTwo(fails=LOST), faults).recv([torch.ones(2)], 1, 0).wait()
    assert faults.noted is LOST


@pytest.mark.parametrize(
    "inside", [lambda: None, lambda: dist.ProcessGroupGloo(dist.HashStore(), 0, 1), Inner, lambda: Inner(fails=LOST)]
)
def test_cpp_may_wait_for_what_nobody_in_python_holds(inside: Callable[[], Any]) -> None:
    group, tensors = a_group(inside()), [torch.ones(2)]
    waiting = threading.Thread(target=dist._broadcast_coalesced, args=(group, tensors, 1 << 20, 0), daemon=True)
    waiting.start()
    waiting.join(SAFETY)
    assert not waiting.is_alive()


class TwoRanks:
    """What is inside of two, in this process."""

    def __init__(self) -> None:
        store = dist.HashStore()
        with ThreadPoolExecutor(2) as pool:
            self.mine, self.peers = pool.map(lambda rank: make_inside(store, rank, 2), range(2))


def test_a_time_that_is_over_before_the_work_is_raised_and_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    ranks, faults, tensor = TwoRanks(), Faults(), torch.ones(1)
    work = Lenient(ranks.mine.allreduce([tensor]), [tensor], faults)
    with pytest.raises(RuntimeError, match=r"[Tt]imed out"):
        work.wait(timedelta(milliseconds=1))
    late = (work.is_completed(), work.is_success(), faults.noted)
    ranks.peers.allreduce([torch.ones(1)]).wait()
    assert late == (False, False, None)
    assert work.wait(timedelta(seconds=SAFETY))
    assert (work.is_completed(), work.is_success(), work.exception(), work.result()) == (True, True, None, [tensor])
    assert tensor.item() == 2


class Over(Inner):
    """It has ended, however that was."""

    def is_completed(self) -> bool:
        return True


def test_whoever_asks_whether_it_is_over_has_a_loss_noted() -> None:
    faults = Faults()
    assert Lenient(Over(fails=LOST), [], faults).is_completed()  # type: ignore[arg-type]
    assert faults.noted is LOST


def test_a_loss_within_a_time_that_was_given_is_noted() -> None:
    faults = Faults()
    Lenient(Over(fails=LOST), [], faults).wait(timedelta(seconds=1))  # type: ignore[arg-type]
    assert faults.noted is LOST


def test_what_was_not_carried_out_is_over() -> None:
    faults, tensor = Faults(), torch.ones(2)
    faults.over = True
    assert a_group(Inner(), faults).allreduce([tensor]).is_completed()
    work = Finished([tensor], faults)
    assert (work.is_completed(), work.is_success(), work.exception(), work.result()) == (True, True, None, [tensor])


def test_it_is_as_large_as_it_is_told_to_be_until_it_is_as_it_was_made() -> None:
    group = StableGroup("default", 1, 3)
    assert group.ranks == (0, 1, 2)
    group.sit(0, 2)
    assert (group.getRank(), group.getSize()) == (0, 2)
    assert not can_be_smaller() or (group.rank(), group.size()) == (0, 2)
    group.sit_as_made()
    assert (group.rank(), group.size()) == (1, 3)


def test_after_the_first_loss_nothing_is_asked_of_the_inside() -> None:
    inner, faults = Inner(), Faults()
    faults.note(LOST)
    tensor = torch.ones(2)
    work = a_group(inner, faults).allreduce([tensor])
    assert work.wait()
    assert work.get_future().wait()[0] is tensor
    assert inner.carried == []
    assert faults.noted is LOST


def test_what_an_epoch_that_is_over_would_have_computed_is_worth_nothing() -> None:
    inner, faults = Inner(), Faults()
    faults.over = True
    a_group(inner, faults).barrier()
    assert inner.carried == []
    assert isinstance(faults.noted, EpochOver)


class OnDevice(torch.Tensor):
    """One whose collective is over for whoever waits before it is carried out."""

    is_cuda = True


def on_device() -> torch.Tensor:
    return torch.ones(2).as_subclass(OnDevice)


def test_what_a_device_has_yet_to_carry_out_is_known_until_a_gate_has_waited() -> None:
    faults = Faults()
    group = a_group(Inner(), faults)
    group.allreduce([torch.ones(2)]).wait()
    assert not faults.is_queued
    group.allreduce([on_device()])
    assert faults.is_queued


def test_what_is_waited_for_in_a_later_step_is_of_that_step() -> None:
    faults = Faults()
    work = Lenient(Inner(), [on_device()], faults)
    assert not faults.is_queued
    work.wait()
    assert faults.is_queued


def test_what_is_refused_as_it_is_asked_is_the_callers_mistake() -> None:
    mistake, faults = RuntimeError("Invalid scalar type"), Faults()
    with pytest.raises(RuntimeError, match="Invalid scalar type"):
        a_group(Inner(refuses=mistake), faults).allreduce([torch.ones(2)])
    assert not faults.is_lost


def test_what_fails_at_once_because_the_epoch_ended_meanwhile_is_noted() -> None:
    faults = Faults()

    class Ending(Inner):
        def __getattr__(self, collective: str) -> Any:
            faults.over = True
            return super().__getattr__(collective)

    a_group(Ending(refuses=LOST), faults).allreduce([torch.ones(2)]).wait()
    assert faults.noted is LOST


def test_after_the_last_epoch_an_error_is_an_error() -> None:
    faults = Faults()
    faults.swallows = False
    with pytest.raises(RuntimeError, match="closed by peer"):
        a_group(Inner(fails=LOST), faults).allreduce([torch.ones(2)]).wait()


def of_equals() -> list[tuple[str, Any, Any]]:
    """A collective, what its answer is read from, and what it is where three ranks hold [1, 2]."""
    flat, each_flat, rows = torch.zeros(6), [torch.zeros(6)], [torch.zeros(2) for _ in range(3)]
    each, gathered, scattered = [[torch.zeros(2)] for _ in range(3)], [torch.zeros(2) for _ in range(3)], torch.zeros(2)
    summed, averaged, first, spread = (torch.tensor([1.0, 2.0]) for _ in range(4))
    mine, empty = torch.tensor([1.0, 2.0]), torch.zeros(0)
    average, options = dist.ReduceOp.AVG, dist.AllreduceOptions()
    options.reduceOp = dist.ReduceOp.MAX
    return [
        ("allgather", ([rows], [mine]), (rows, [[1.0, 2.0]] * 3)),
        ("allgather_coalesced", (each, [mine]), (each, [[[1.0, 2.0]]] * 3)),
        ("_allgather_base", (flat, mine), (flat, [1.0, 2.0] * 3)),
        ("_allgather_base", (torch.zeros(0), empty), (empty, [])),
        ("allgather_into_tensor_coalesced", (each_flat, [mine]), (each_flat, [[1.0, 2.0] * 3])),
        ("allreduce", ([summed],), (summed, [3.0, 6.0])),
        ("allreduce", (averaged, average), (averaged, [1.0, 2.0])),
        ("reduce", ([first], options), (first, [1.0, 2.0])),
        ("broadcast", ([spread],), (spread, [1.0, 2.0])),
        ("gather", ([gathered], [mine]), (gathered, [[1.0, 2.0]] * 3)),
        ("gather", ([], [mine]), (mine, [1.0, 2.0])),
        ("scatter", ([scattered], [[mine, empty, empty]]), (scattered, [1.0, 2.0])),
    ]


@pytest.mark.parametrize("which", range(len(of_equals())))
def test_while_nobody_is_inside_all_peers_are_as_this_one(which: int) -> None:
    collective, arguments, (read, expected) = of_equals()[which]
    assert getattr(a_group(None), collective)(*arguments).wait()
    assert as_lists(read) == expected


def as_lists(tree: Any) -> Any:
    return tree.tolist() if isinstance(tree, torch.Tensor) else [as_lists(each) for each in tree]


@pytest.mark.parametrize(
    ("collective", "arguments"),
    [
        ("scatter", ([torch.zeros(2)], [])),
        ("allreduce", ([torch.ones(2)], dist.ReduceOp.PRODUCT)),
        ("alltoall_base", (torch.zeros(3), torch.ones(3), [], [])),
        ("reduce_scatter", ([torch.zeros(1)], [[torch.ones(1)] * 3])),
        ("send", ([torch.ones(2)], 1, 0)),
        ("recv", ([torch.ones(2)], 1, 0)),
    ],
)
def test_what_cannot_be_told_of_this_ranks_own_is_refused(collective: str, arguments: Any) -> None:
    with pytest.raises(Misuse, match=f"^{collective} needs peers, and none is met yet: .*src_data_rank=None.*no_dist"):
        getattr(a_group(None), collective)(*arguments)


def test_who_sent_it_is_told_and_nobody_where_it_was_lost() -> None:
    class From(Inner):
        def _source_rank(self) -> int:
            if self.fails is not None:
                raise self.fails
            return 2

    def source(inner: Inner, faults: Faults) -> int:
        return int(a_group(inner, faults).recv_anysource([torch.ones(2)], 0)._source_rank())

    over = Faults()
    over.over = True
    assert source(From(), Faults()) == 2
    assert source(From(fails=LOST), Faults()) == 0
    assert source(From(), over) == 0


CPU = torch.device("cpu")


def test_what_is_begun_as_one_is_ended_whatever_was_lost_meanwhile() -> None:
    inner, faults = Inner(), Faults()
    group = a_group(inner, faults)
    group._start_coalescing(CPU)
    faults.note(LOST)
    group._end_coalescing(CPU).wait()
    group._end_coalescing(CPU).wait()
    assert inner.carried == ["_start_coalescing", "_end_coalescing"]


def test_after_a_loss_nothing_is_begun_as_one() -> None:
    inner, faults = Inner(), Faults()
    faults.note(LOST)
    group = a_group(inner, faults)
    group._start_coalescing(CPU)
    group._end_coalescing(CPU).wait()
    assert inner.carried == []


def test_what_hands_no_work_back_is_done() -> None:
    class Silent(Inner):
        def __getattr__(self, collective: str) -> Any:
            return lambda *_arguments: None

    group = a_group(Silent())
    group._start_coalescing(CPU)
    assert group._end_coalescing(CPU).wait()


def test_torch_asks_what_is_inside_what_it_can_do() -> None:
    inside = make_inside(dist.HashStore(), 0, 1)
    group = a_group(inside)
    assert group._get_backend(CPU) is inside._get_backend(CPU)
    for of_nobody in (lambda: a_group(None)._get_backend(CPU), lambda: group._get_backend(torch.device("meta"))):
        with pytest.raises(RuntimeError, match=r"[Nn]o backend"):
            of_nobody()


def test_where_the_others_are_done_nobody_pretends_to_be_them() -> None:
    faults = Faults()
    faults.refusal = PeersDone("1 of 3 members are left")
    with pytest.raises(PeersDone):
        a_group(None, faults).allreduce([torch.ones(2)])


def test_it_is_known_by_its_name() -> None:
    group = a_group(None)
    assert (group.group_name, group.getBackendName()) == ("default", "checkpointheal")
    assert isinstance(group, dist.ProcessGroup)


def test_ending_collectives_while_another_thread_takes_the_groups_out_is_no_error() -> None:
    class Parted(Groups):
        """The other thread comes between any two looks at what there is to end."""

        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if name == "_connections":
                self._connections = None
            return found

    ended: list[object] = []
    groups = Parted(0, 1)
    groups._connections = SimpleNamespace(end=ended.append)
    groups.end()
    assert ended == [[]]


@pytest.mark.parametrize("version", ["2.5.1+cpu", "2.0.0", "1.13.0"])
def test_a_torch_that_nobody_has_tried_is_refused_by_name(version: str) -> None:
    with pytest.raises(TorchTooOld, match=f"from torch 2.6 on, this is {version.split('+', maxsplit=1)[0]}"):
        require_torch(version)


@pytest.mark.parametrize("version", ["2.6.0", "2.15.0+cu132", "2.16.0a0+git1234", "3.0.0"])
def test_a_newer_torch_is_not_refused(version: str) -> None:
    require_torch(version)


def meet_again_and_again(folder: Path, rank: int) -> None:
    """As in epoch after epoch: what was inside is let go of while threads of it may still put tensors away."""
    torch.set_num_threads(1)
    store, options = dist.FileStore(str(folder / "store"), 3), dist.BroadcastOptions()
    options.rootRank, options.rootTensor = 0, 0
    for epoch in range(30):
        inside = make_inside(dist.PrefixStore(f"{epoch}", store), rank, 3)
        for _ in range(20):
            inside.broadcast([torch.ones(20_000)], options).wait()
        del inside


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_what_was_inside_goes_without_waiting_for_whoever_waits_for_python(tmp_path: Path) -> None:
    ranks = [fork(lambda rank=rank: meet_again_and_again(tmp_path, rank)) for rank in range(3)]  # type: ignore[misc]
    assert [wait(rank) for rank in ranks] == [0, 0, 0]
