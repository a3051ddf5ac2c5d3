"""What several trainers of one pod are told, and to whose agents their `run` speaks."""

from pathlib import Path

import pytest

from checkpointheal.errors import Misuse
from checkpointheal.run.ranks import arenas, variables

SEATED = {
    "CHECKPOINTHEAL_ARENA": "/arena",
    "CHECKPOINTHEAL_MEMBER": "1/1",
    "CHECKPOINTHEAL_LOCAL_RANKS": "2",
    "CHECKPOINTHEAL_RANKS": "4",
}


def test_in_an_injected_pod_ranks_follow_from_its_place() -> None:
    assert variables(SEATED, 2) == (
        {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "RANK": "6"},
        {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "RANK": "7"},
    )


def test_a_pod_alone_is_the_whole_world() -> None:
    assert [(each["RANK"], each["WORLD_SIZE"]) for each in variables({}, 2)] == [("0", "2"), ("1", "2")]


def test_where_other_pods_take_part_and_nobody_knows_its_place_no_rank_is_guessed() -> None:
    found = variables({"WORLD_SIZE": "4"}, 2)
    assert found == tuple({"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"} for rank in range(2))


@pytest.mark.parametrize("count", [1, 4])
def test_another_number_than_the_annotations_is_refused_by_both_names(count: int) -> None:
    with pytest.raises(Misuse, match=f"has 2 local ranks by its annotation .*, and --nproc-per-node is {count}"):
        variables(SEATED, count)


@pytest.mark.parametrize("damage", [{"CHECKPOINTHEAL_MEMBER": "one"}, {"CHECKPOINTHEAL_LOCAL_RANKS": "3"}])
def test_what_injection_never_writes_is_refused(damage: dict[str, str]) -> None:
    with pytest.raises(Misuse, match="cannot be read"):
        variables(SEATED | damage, 2)


def test_one_trainers_run_speaks_to_its_own_agent_and_a_launchers_to_all() -> None:
    assert arenas({}) == ()
    assert arenas({"CHECKPOINTHEAL_ARENA": "/arena", "LOCAL_RANK": "3"}) == (Path("/arena"),)
    assert arenas(SEATED) == (Path("/arena/0"), Path("/arena/1"))
    assert arenas(SEATED | {"LOCAL_RANK": "1"}) == (Path("/arena/1"),)
    assert arenas(SEATED | {"LOCAL_RANK": "2"}) == (Path("/arena/0"), Path("/arena/1"))
