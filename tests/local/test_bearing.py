"""More members than a machine can bear are refused with the number that it can."""

import pytest

from checkpointheal_operator.local.bearing import Machine, too_many

GIGABYTE = 10**9


@pytest.mark.parametrize(
    ("machine", "bears"),
    [(Machine(2, 64 * GIGABYTE), 32), (Machine(64, 8 * GIGABYTE), 29), (Machine(1, GIGABYTE // 10), 8)],
    ids=["by its cores", "by its memory", "a few always"],
)
def test_so_many_members_are_borne_and_no_more(machine: Machine, bears: int) -> None:
    assert too_many(bears, machine) is None
    told = too_many(bears + 1, machine)
    assert told is not None
    assert told.startswith(
        f"{bears + 1} members are more than this machine can bear: {bears}, by {machine.cores} cores"
    )
    assert told.endswith("or say --crowded if you mean it")


def test_this_machine_bears_the_examples() -> None:
    here = Machine.here()
    assert here.cores >= 1
    assert here.memory > 0
    assert too_many(8, here) is None
