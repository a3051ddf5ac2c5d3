"""A buddy keeps what may still be needed, and nothing of a future that will not come."""

from checkpointheal.agent.keep import LATEST, Keep
from checkpointheal.contract.identity import MemberId

MEMBER = MemberId(replica=1)


def kept_steps(keep: Keep) -> tuple[int, ...]:
    return next((held.steps for held in keep.held() if held.member == MEMBER), ())


def full_keep(steps: range, named: tuple[int, ...] = ()) -> Keep:
    keep = Keep()
    for step in steps:
        keep.put(MEMBER, step, b"%d" % step, named)
    return keep


def test_the_latest_steps_are_kept():
    assert kept_steps(full_keep(range(10))) == tuple(range(10 - LATEST, 10))


def test_a_step_that_the_operator_named_is_kept_longer():
    assert kept_steps(full_keep(range(10), named=(2,))) == (2, *range(10 - LATEST, 10))


def test_a_part_comes_back_as_it_was_left():
    assert full_keep(range(3)).get(MEMBER, 1) == b"1"
    assert full_keep(range(3)).get(MemberId(replica=0), 1) is None


def test_going_back_drops_what_lies_ahead():
    keep = full_keep(range(5))
    keep.forget_after(3)
    assert kept_steps(keep) == (2, 3)


def test_a_fresh_start_drops_everything():
    keep = full_keep(range(5))
    keep.forget_after(None)
    assert keep.held() == ()
