"""torch takes a group of streams for any group: it meets over a store, and moves a state from rank to rank."""

import socket
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed import HashStore

import builders_ends as build
import builders_pg
import builders_trust
from checkpointheal.agent.credentials import Credentials
from checkpointheal.channel import stream_group
from checkpointheal.channel.stream_group import StreamGroup, Trust, meet
from checkpointheal.contract.trust import pod_host
from checkpointheal.errors import Abandoned, CheckpointHealError, Misuse, Overdue, PeerLost, UntrustedPeer
from checkpointheal_operator.gateway.authority import Authority
from children import fork, wait

AUTHORITY = Authority.begin((), builders_trust.NOW)
SECONDS = timedelta(seconds=20)


def shown(rank: int) -> Credentials:
    return builders_trust.credentials(AUTHORITY, builders_trust.a_holder(rank))


def name(rank: int) -> str:
    return pod_host(f"uid-{rank}")


def a_trust(rank: int, shows: Credentials | None = None, **changes: object) -> Trust:
    found = shows or shown(rank)
    return Trust(**{"server": found.server, "client": found.client, "name": name, "stall": 20.0, **changes})  # type: ignore[arg-type]


def groups(count: int, timeout: timedelta = SECONDS, **trusts: Trust) -> list[StreamGroup | CheckpointHealError]:
    """`trusts`: of the ranks that differ, by `rank_N`."""
    store = HashStore()
    return build.side_by_side(
        *(
            lambda rank=rank: meet(trusts.get(f"rank_{rank}") or a_trust(rank), store, rank, count, timeout)
            for rank in range(count)
        )
    )


def ended(met: list[StreamGroup | CheckpointHealError]) -> None:
    for each in met:
        if isinstance(each, StreamGroup):
            each.abort()


def test_every_rank_reaches_every_other_one() -> None:
    met = groups(3)
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    came = {pair: torch.zeros(5) for pair in pairs}
    work = [met[a].send([torch.full((5,), a * 10.0 + b)], b, 1) for a, b in pairs]
    work += [met[b].recv([came[a, b]], a, 1) for a, b in pairs]
    assert all(each.wait(SECONDS) for each in work)
    assert all(each.is_completed() and each.is_success() for each in work)
    assert {pair: came[pair].tolist() for pair in pairs} == {(a, b): [a * 10.0 + b] * 5 for a, b in pairs}
    ended(met)


def test_a_state_crosses_as_over_any_group() -> None:
    met = groups(2)
    state = {"w": torch.randn(1000, 30), "t": torch.tensor(3), "empty": torch.zeros(0), "step": 4}
    _, received = build.side_by_side(
        lambda: builders_pg.a_transport(met[0]).send_checkpoint([1], state),
        lambda: builders_pg.a_transport(met[1]).recv_checkpoint(0),
    )
    assert builders_pg.same(received, state)
    build.side_by_side(*(each.shutdown for each in met))


def test_an_abort_unblocks_who_waits_without_a_limit() -> None:
    met = groups(2)
    work = [met[0].recv([torch.zeros(1)], 1), met[1].recv([torch.zeros(1)], 0)]
    assert not work[0].is_completed()
    outcomes = build.side_by_side(work[0].wait, work[1].wait, met[0].abort)
    assert [type(each) for each in outcomes[:2]] == [Abandoned, PeerLost]
    assert not work[0].is_success()
    ended(met)


def test_what_cannot_cross_is_refused_before_it_is_tried() -> None:
    met = groups(2)
    with pytest.raises(Misuse):
        met[0].send([torch.zeros(4, 4).t()[:2]], 1)
    ended(met)


STRANGERS: dict[str, Callable[[], Credentials]] = {
    "another rank's": lambda: shown(2),
    "made by itself": lambda: builders_trust.self_signed(AUTHORITY, builders_trust.a_holder(1)),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_rank_with_a_wrong_certificate_is_sent_away_and_the_others_wait_for_the_right_one(stranger: str) -> None:
    met = groups(2, timedelta(seconds=2), rank_1=a_trust(1, STRANGERS[stranger]()))
    assert isinstance(met[0], Overdue)
    ended(met)


def test_a_rank_whose_host_is_somebody_else_goes_no_further() -> None:
    met = groups(2, timedelta(seconds=2), rank_0=a_trust(0, shown(5)))
    assert isinstance(met[1], UntrustedPeer)
    ended(met)


STORES: dict[str, Callable[[Path], dist.Store]] = {
    "in memory": lambda _: HashStore(),
    "a file": lambda folder: dist.FileStore(str(folder / "store"), 2),
}


@pytest.mark.parametrize("store", STORES)
def test_a_rank_that_never_says_where_it_is_is_waited_for_as_long_as_was_asked(store: str, tmp_path: Path) -> None:
    patient = STORES[store](tmp_path)
    patient.set_timeout(timedelta(seconds=5))
    with pytest.raises(Overdue, match="not every rank of the group came in time"):
        meet(a_trust(1), patient, 1, 2, timedelta(seconds=0.2))


def test_an_error_that_is_none_of_ours_hangs_up_on_who_was_met_before() -> None:
    store, held = HashStore(), []

    def without_rank_1(rank: int) -> str:
        if rank == 1:
            raise LookupError("no such pod")
        return name(rank)

    def break_off() -> None:
        with pytest.raises(LookupError) as told:
            meet(a_trust(2, name=without_rank_1), store, 2, 3, SECONDS)
        held.append(told)

    met, *_ = build.side_by_side(
        lambda: meet(a_trust(0), store, 0, 3, SECONDS),
        lambda: meet(a_trust(1), store, 1, 3, timedelta(seconds=2)),
        break_off,
    )
    with pytest.raises(PeerLost):
        met.recv([torch.zeros(1)], 2).wait(timedelta(seconds=5))
    ended([met])


def test_ranks_at_addresses_of_ipv6_meet() -> None:
    met = groups(2, rank_0=a_trust(0, host="::1"), rank_1=a_trust(1, host="::1"))
    assert all(isinstance(each, StreamGroup) for each in met)
    ended(met)


def test_one_fixed_port_is_enough() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    met = groups(2, rank_0=a_trust(0, port=port))
    assert all(isinstance(each, StreamGroup) for each in met)
    ended(met)


def a_rank(rank: int, store: Path, told: Connection) -> None:
    stream_group.register(a_trust(rank))
    dist.init_process_group(
        stream_group.NAME, store=dist.FileStore(str(store), 2), rank=rank, world_size=2, timeout=SECONDS
    )
    tensor = torch.arange(1000.0) if rank == 0 else torch.zeros(1000)
    if rank == 0:
        dist.send(tensor, 1)
        pending = dist.isend(tensor + 1, 1)
        assert pending is not None
        pending.wait()
        told.send_bytes(str(dist.get_backend()).encode())
    else:
        dist.recv(tensor, 0)
        again = torch.zeros(1000)
        pending = dist.irecv(again, 0)
        assert pending is not None
        pending.wait()
        told.send_bytes(f"{tensor.sum().item():.0f} {again.sum().item():.0f}".encode())
    dist.destroy_process_group()


def test_torch_makes_such_a_group_by_its_name(tmp_path: Path) -> None:
    pipes = [Pipe() for _ in range(2)]
    children = [fork(lambda rank=rank: a_rank(rank, tmp_path / "store", pipes[rank][1])) for rank in range(2)]
    assert [wait(child) for child in children] == [0, 0]
    assert [ours.recv_bytes() for ours, _ in pipes] == [b"checkpointheal", b"499500 500500"]
    for pair in pipes:
        for end in pair:
            end.close()
