"""The first steps of an epoch stay to be compared, whatever is overwritten, and however late they are read."""

from hypothesis import given
from hypothesis import strategies as st

from checkpointheal.agent.passed import LIMIT, PassedSteps
from checkpointheal.contract.orders import EpochOrder
from checkpointheal.contract.report import Generation
from checkpointheal.contract.signals import Signals

FINE = Signals(loss=1.0)


def an_order(epoch: int = 2, probation: int = 3, *, over: bool = False) -> EpochOrder:
    return EpochOrder(epoch=epoch, over=over, step=0, probation=probation)


def sealed(step: int, digest: str | None = "d", epoch: int = 2) -> Generation:
    digest = None if digest is None else digest * 32
    return Generation(step=step, schema_digest="a" * 32, state_digest=digest, bytes=1, private=True, epoch=epoch)


def asked(order: EpochOrder | None = None) -> PassedSteps:
    passed = PassedSteps()
    passed.want(order or an_order())
    return passed


def test_nobody_asks_and_nothing_is_kept():
    passed = PassedSteps()
    passed.signals(0, 1, FINE)
    passed.see([sealed(1)])
    passed.want(None)
    assert passed.steps == ()


def test_what_was_told_and_what_was_read_of_a_step_come_together_in_either_order():
    one, other = asked(), asked()
    one.signals(2, 5, FINE)
    one.see([sealed(5)])
    other.see([sealed(5)])
    other.signals(2, 5, FINE)
    assert one.steps == other.steps
    assert (one.steps[0].state_digest, one.steps[0].signals) == ("d" * 32, FINE)


def test_a_digest_outlives_its_generation():
    passed = asked()
    passed.see([sealed(5), sealed(6, None)])
    passed.see([sealed(6), sealed(7)])
    assert [(each.step, each.state_digest) for each in passed.steps] == [(step, "d" * 32) for step in (5, 6, 7)]


def test_the_first_steps_stay_and_later_ones_are_not_kept():
    passed = asked(an_order(probation=2))
    for step in range(1, 9):
        passed.signals(2, step, None)
        passed.see([sealed(step)])
    assert [each.step for each in passed.steps] == [1, 2]


def test_another_epochs_steps_are_none_of_it():
    passed = asked()
    passed.signals(1, 4, FINE)
    passed.see([sealed(4, epoch=1), sealed(5, epoch=3)])
    assert passed.steps == ()


def test_the_next_epoch_begins_with_nothing_and_the_end_of_one_leaves_all():
    passed = asked()
    passed.signals(2, 5, FINE)
    passed.want(an_order())
    assert len(passed.steps) == 1
    passed.want(an_order(over=True))
    passed.see([sealed(5)])
    assert [each.state_digest for each in passed.steps] == ["d" * 32]
    passed.want(an_order(epoch=3))
    assert passed.steps == ()


def test_where_fewer_are_asked_for_the_first_stay():
    passed = asked()
    passed.see([sealed(5), sealed(6), sealed(7)])
    passed.want(an_order(probation=1))
    assert [each.step for each in passed.steps] == [5]


def test_steps_that_nobody_had_time_to_read_take_no_place_from_those_that_are_read():
    """As of a state of some gigabytes, with a step each second."""
    passed = asked(an_order(probation=2))
    for step in (1, 2, 3, 4):
        passed.signals(2, step, FINE)
    for step in (5, 6, 7):
        passed.signals(2, step, FINE)
        passed.see([sealed(step - 1, None), sealed(step)])
    assert [(each.step, each.state_digest is not None) for each in passed.steps] == [
        *((1, False), (2, False)),
        *((5, True), (6, True)),
    ]


def test_where_fewer_are_asked_for_the_first_that_were_read_stay_beside_the_first():
    passed = asked()
    for step in (1, 2):
        passed.signals(2, step, FINE)
    passed.see([sealed(3), sealed(4)])
    passed.want(an_order(probation=1))
    assert [each.step for each in passed.steps] == [1, 3]


def test_where_nobody_looks_after_the_job_any_more_its_steps_stay_for_whoever_comes_next():
    passed = asked()
    passed.see([sealed(5)])
    passed.want(None)
    assert [each.step for each in passed.steps] == [5]


@given(st.integers(0, 10_000), st.lists(st.integers(0, 200)))
def test_no_more_are_kept_than_asked_for_nor_than_there_is_room_for(count: int, steps: list[int]) -> None:
    passed = asked(an_order(probation=count))
    for step in steps:
        passed.signals(2, step, FINE)
    assert len(passed.steps) == min(count, LIMIT, len(set(steps)))
    assert [each.step for each in passed.steps] == sorted(each.step for each in passed.steps)
