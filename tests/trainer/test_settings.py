"""Which arena and which place a trainer finds in its environment, and what it says where there is none for it."""

import pytest

from checkpointheal.errors import NoLocalRank
from checkpointheal.trainer.settings import TrainerSettings

ALONE = {"CHECKPOINTHEAL_ARENA": "/arena", "CHECKPOINTHEAL_MEMBER": "3/0"}
SEATED = ALONE | {"CHECKPOINTHEAL_LOCAL_RANKS": "2", "CHECKPOINTHEAL_RANKS": "1"}


def read(environment: dict[str, str]) -> tuple[str, str]:
    found = TrainerSettings.from_environment(environment)
    return str(found.arena), str(found.member)


@pytest.mark.parametrize("said", [{}, {"LOCAL_RANK": "0"}, {"LOCAL_RANK": "5"}, {"LOCAL_RANK": "x"}])
def test_the_only_trainer_of_a_pod_sits_in_its_only_seat_whatever_a_launcher_calls_it(said: dict[str, str]) -> None:
    assert read(ALONE | said) == ("/arena", "3/0")


def test_of_several_each_finds_its_own_by_its_local_rank() -> None:
    assert read(SEATED | {"LOCAL_RANK": "0"}) == ("/arena/0", "6/0")
    assert read(SEATED | {"LOCAL_RANK": "1"}) == ("/arena/1", "7/0")


def test_without_a_local_rank_it_says_how_trainers_are_started() -> None:
    with pytest.raises(NoLocalRank, match="LOCAL_RANK is not set: start its trainers with torchrun or with `check"):
        read(SEATED)


@pytest.mark.parametrize("said", ["2", "-1", "", "one"])
def test_a_local_rank_that_the_pod_has_not_is_refused_with_the_annotation_that_says_so(said: str) -> None:
    with pytest.raises(NoLocalRank, match="has local ranks 0 to 1: start as many trainers as the annotation"):
        read(SEATED | {"LOCAL_RANK": said})
