"""NCCL's watchdog neither ends a process that is to survive nor lets it go on with what is incomplete."""

import pytest

from checkpointheal.errors import WatchdogKills
from checkpointheal.trainer.watchdog import calmed

NEW, OLD = "TORCH_NCCL_ASYNC_ERROR_HANDLING", "NCCL_ASYNC_ERROR_HANDLING"
QUIET = {"TORCH_NCCL_ENABLE_MONITORING": "0", "TORCH_NCCL_DUMP_ON_TIMEOUT": "0"}


def test_where_nobody_says_anything_it_is_told_to_look_on() -> None:
    assert calmed({}) == {NEW: "0", **QUIET}


@pytest.mark.parametrize("name", [NEW, OLD])
def test_what_is_right_stays_as_it_is(name: str) -> None:
    assert calmed({name: "0"}) == QUIET


@pytest.mark.parametrize("name", QUIET)
def test_whoever_wants_its_watcher_keeps_it(name: str) -> None:
    assert name not in calmed({name: "1"})


@pytest.mark.parametrize("name", [NEW, OLD])
@pytest.mark.parametrize("said", ["1", "3", "", "yes"])
def test_what_would_end_survivors_is_refused_by_its_name(name: str, said: str) -> None:
    with pytest.raises(WatchdogKills, match=f"^{name} is {said}: .* end survivors .* set it to 0, or leave it unset"):
        calmed({name: said})


@pytest.mark.parametrize("name", [NEW, OLD])
def test_what_would_abort_by_itself_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(WatchdogKills, match=f"^{name} is 2: .* incomplete; set it to 0, or leave it unset"):
        calmed({name: "2"})


def test_the_new_name_counts_where_both_are_said() -> None:
    assert calmed({NEW: "0", OLD: "1"}) == QUIET
