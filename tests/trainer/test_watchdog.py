"""NCCL's watchdog does not end a process that is to survive."""

import pytest

from checkpointheal.errors import WatchdogKills
from checkpointheal.trainer.watchdog import calmed

NEW, OLD = "TORCH_NCCL_ASYNC_ERROR_HANDLING", "NCCL_ASYNC_ERROR_HANDLING"


def test_where_nobody_says_anything_it_is_told_to_let_the_process_live() -> None:
    assert calmed({}) == {NEW: "2"}


@pytest.mark.parametrize("name", [NEW, OLD])
@pytest.mark.parametrize("said", ["0", "2"])
def test_what_is_right_stays_as_it_is(name: str, said: str) -> None:
    assert calmed({name: said}) == {}


@pytest.mark.parametrize("name", [NEW, OLD])
@pytest.mark.parametrize("said", ["1", "3", "", "yes"])
def test_what_would_end_survivors_is_refused_by_its_name(name: str, said: str) -> None:
    with pytest.raises(WatchdogKills, match=f"^{name} is {said}: .* set it to 2, or leave it unset"):
        calmed({name: said})


def test_the_new_name_counts_where_both_are_said() -> None:
    assert calmed({NEW: "2", OLD: "1"}) == {}
