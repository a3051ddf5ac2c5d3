"""A seed means a list of faults, and they come as it says."""

import asyncio

import pytest

from blows import chaos
from cluster_blows import ALL
from drawn import REST_EVERY, Fault, befall, drawn

NAMES = [each.__name__ for each in ALL]


def test_a_seed_draws_the_same_faults_again_and_another_one_others():
    assert drawn(7, 50, NAMES, 3) == drawn(7, 50, NAMES, 3)
    assert drawn(7, 50, NAMES, 3) != drawn(8, 50, NAMES, 3)


def test_a_longer_list_begins_as_a_shorter_one():
    assert drawn(7, 90, NAMES, 3)[:50] == drawn(7, 50, NAMES, 3)


@pytest.mark.parametrize("names", [NAMES, [each.__name__ for each in chaos()]], ids=["pods", "processes"])
def test_enough_faults_are_every_kind_and_befall_every_rank(names):
    faults = drawn(0, 400, names, 3)
    assert {each.name for each in faults} == set(names)
    assert {each.rank for each in faults} == {0, 1, 2}


def at_once(names: str) -> list[Fault]:
    return [Fault(number, 0.0, name, 0, 0.0) for number, name in enumerate(names, 1)]


def test_each_comes_in_its_turn_and_all_rest_after_ten_and_at_the_end():
    told: list[str] = []

    async def strike(fault: Fault) -> None:
        told.append(fault.name)

    async def rest() -> None:
        told.append("-")

    asyncio.run(befall(at_once("abcdefghijkl"), strike, rest))
    assert "".join(told) == "abcdefghij-kl-"
    assert REST_EVERY == 10


def test_no_more_than_two_are_under_way():
    under_way, most = 0, 0

    async def strike(_fault: Fault) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(5):
            await asyncio.sleep(0)
        under_way -= 1

    async def rest() -> None:
        assert under_way == 0

    asyncio.run(befall(at_once("abcdef"), strike, rest))
    assert most == 2


def test_a_fault_that_breaks_a_promise_ends_it_all():
    async def strike(fault: Fault) -> None:
        if fault.name == "b":
            raise AssertionError("broken")

    async def rest() -> None:
        pass

    with pytest.raises(AssertionError, match="broken"):
        asyncio.run(befall(at_once("abc"), strike, rest))
