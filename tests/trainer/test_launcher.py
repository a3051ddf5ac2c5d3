"""A trainer that torchrun would leave waiting once a pod is lost is told so, and how to mend it."""

import pytest

from checkpointheal.trainer.launcher import never_meets_again

SHARED = {"TORCHELASTIC_USE_AGENT_STORE": "True", "GROUP_WORLD_SIZE": "3"}


def test_a_store_that_the_pods_of_a_torchrun_share_is_told_of_with_its_remedy() -> None:
    told = never_meets_again(SHARED)
    assert told is not None
    assert "set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 where torchrun is started" in told


@pytest.mark.parametrize(
    "calm",
    [
        {},
        {**SHARED, "TORCHELASTIC_USE_AGENT_STORE": "False"},
        {**SHARED, "GROUP_WORLD_SIZE": "1"},
        {**SHARED, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        {"TORCHELASTIC_USE_AGENT_STORE": "True"},
    ],
    ids=["no torchrun", "a store of its ranks'", "one pod", "it is told already", "nothing said of pods"],
)
def test_nobody_else_is_told(calm: dict[str, str]) -> None:
    assert never_meets_again(calm) is None
