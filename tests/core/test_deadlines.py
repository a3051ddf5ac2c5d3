"""One number gives every deadline, in an order that makes sense; any other order is told."""

from hypothesis import given
from hypothesis import strategies as st

from builders_core import a_job
from checkpointheal_operator.core.deadlines import ORDERS, PATIENCE, Deadlines, derive
from checkpointheal_operator.core.orders import orders
from checkpointheal_operator.core.policy import Policy


@given(st.integers(4, 2_400))
def test_what_follows_from_one_number_is_in_order(patience: int) -> None:
    told = derive(patience)
    assert all(getattr(told, each.longer) >= getattr(told, each.shorter) for each in ORDERS)


def test_the_usual_patience_gives_the_usual_deadlines() -> None:
    usual, policy = derive(PATIENCE), Policy(replicas=1)
    assert usual == Deadlines(
        stopped_trainer=policy.stopped_grace,
        agent_silence=policy.agent_silence,
        report=policy.report_deadline,
        epoch_end=policy.epoch_end_deadline,
        transfer=policy.transfer_seconds_at_least,
        go_on_without=policy.go_on_without,
        restore_budget=policy.restore_budget,
    )


@given(st.integers(4, 2_400))
def test_survivors_wait_for_the_word_for_longer_than_it_takes(patience: int) -> None:
    told = derive(patience)
    view = a_job(agent_silence=told.agent_silence, report_deadline=told.report)
    for each in orders(view).values():
        assert each.epoch is not None
        assert each.epoch.word_within > told.agent_silence + told.report
