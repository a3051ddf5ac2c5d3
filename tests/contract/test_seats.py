"""Which member sits in which seat of a pod, and how a seat is called."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.seats import (
    MEMBER,
    MOST_SEATS,
    Seats,
    local_rank_of,
    pod_name,
    pod_of,
    pods_per_replica,
    seat_folder,
    seat_name,
    seat_uid,
)

UID = "550e8400-e29b-41d4-a716-446655440000"
SIZES = (1, 2, 3, 4, 6, 8)


def seats(pod: str, count: int, ranks: int) -> list[str]:
    return [str(each) for each in Seats(pod=MemberId.parse(pod), count=count, ranks=ranks).members]


@pytest.mark.parametrize(
    ("pod", "count", "ranks", "expected"),
    [
        pytest.param("2/1", 1, 4, ["2/1"], id="one local rank: the pod is the member"),
        pytest.param("1/0", 2, 4, ["1/0", "1/1"], id="the first block of a replica"),
        pytest.param("1/1", 2, 4, ["1/2", "1/3"], id="its second block"),
        pytest.param("3/0", 4, 4, ["3/0", "3/1", "3/2", "3/3"], id="a whole replica"),
        pytest.param("2/0", 3, 1, ["6/0", "7/0", "8/0"], id="every local rank a replica of its own"),
        pytest.param("1/0", 4, 2, ["2/0", "2/1", "3/0", "3/1"], id="several whole replicas"),
    ],
)
def test_a_pods_seats_follow_from_its_own_place(pod: str, count: int, ranks: int, expected: list[str]) -> None:
    assert seats(pod, count, ranks) == expected


@pytest.mark.parametrize("ranks", SIZES)
@pytest.mark.parametrize("count", SIZES)
def test_the_seats_of_all_pods_are_all_members_in_order_or_the_sizes_are_refused(count: int, ranks: int) -> None:
    if ranks % count and count % ranks:
        with pytest.raises(ValidationError, match="do not divide each other"):
            seats("0/0", count, ranks)
        return
    blocks = pods_per_replica(ranks, count)
    found = [each for pod in range(2 * blocks) for each in seats(f"{pod // blocks}/{pod % blocks}", count, ranks)]
    assert found == [f"{ordinal // ranks}/{ordinal % ranks}" for ordinal in range(2 * blocks * count)]


def test_a_block_that_a_replica_has_not_is_refused() -> None:
    with pytest.raises(ValidationError, match="has no block 2 of 2 local ranks"):
        seats("0/2", 2, 4)


def test_every_seat_has_a_uid_and_a_name_that_lead_back_to_its_pod() -> None:
    uids = [seat_uid(UID, each) for each in range(MOST_SEATS)]
    assert uids[:3] == [UID, f"{UID}.1", f"{UID}.2"]
    assert [local_rank_of(each) for each in uids] == list(range(MOST_SEATS))
    assert {pod_of(each) for each in uids} == {UID}
    names = [seat_name("trainer-0", each, 2) for each in range(2)]
    assert names == ["trainer-0/0", "trainer-0/1"]
    assert {pod_name(each) for each in (*names, seat_name("trainer-0", 0, 1))} == {"trainer-0"}


@pytest.mark.parametrize("uid", [UID, f"{UID}.0", f"{UID}.01", f"{UID}.x", ".1", ""])
def test_what_is_no_seats_uid_is_a_pods(uid: str) -> None:
    assert (pod_of(uid), local_rank_of(uid)) == (uid, 0)


def test_a_single_seat_has_the_whole_arena_as_ever() -> None:
    assert seat_folder(Path("/arena"), 0, 1) == Path("/arena")
    assert [seat_folder(Path("/arena"), each, 2) for each in range(2)] == [Path("/arena/0"), Path("/arena/1")]


def test_what_agent_and_trainer_are_told_is_read_back() -> None:
    pod = MemberId(replica=1, rank=1)
    for told in (Seats(pod=pod, count=2, ranks=4), Seats(pod=pod)):
        assert Seats.told({MEMBER: str(pod), **told.variables}) == told
    assert Seats(pod=pod, ranks=4).variables == {}
