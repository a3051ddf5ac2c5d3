"""A restore that raises in the middle leaves a mixture, which no commit keeps until it is a state again."""

import pytest

from builders_trainer import Training
from checkpointheal.errors import TargetInvalid


class Stubborn:
    """A part whose loading raises."""

    def __init__(self) -> None:
        self.n, self.fails = 0, False

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        if self.fails:
            raise ValueError("no such file")
        self.n = state["n"]


class Failing(Training):
    """One of its parts is stubborn: a replicated one, or its own."""

    def __init__(self, is_own) -> None:
        super().__init__()
        self.stubborn, self._is_own = Stubborn(), is_own

    def parts(self):
        parts = super().parts()
        return {**parts, "private": {"it": self.stubborn}} if self._is_own else {**parts, "it": self.stubborn}


@pytest.fixture(params=[False, True], ids=["replicated", "private"])
def half(request, attach, agent):
    """A trainer that holds half of the step 1, its `Heal`, and the error that left it so."""
    training = Failing(request.param)
    heal = attach(training)
    heal.restore()
    training.step()
    training.stubborn.n = 1
    heal.commit(1)
    agent.names(agent.slot_of(step=1))
    fresh = Failing(request.param)
    fresh.stubborn.fails = True
    heal = attach(fresh)
    with pytest.raises(ValueError, match="no such file") as raised:
        heal.restore()
    fresh.stubborn.fails = False
    yield fresh, heal, raised.value
    heal.declare_whole()


def test_no_commit_keeps_it_and_both_errors_say_what_helps(half, agent):
    _, heal, error = half
    assert "restore() raised in the middle" in error.__notes__[0]
    with pytest.raises(TargetInvalid, match=r"mixture of two states: load your checkpoint.*heal\.declare_whole\(\)"):
        heal.commit(2)
    assert [seal.step for seal in agent.arena.seals().values()] == [1]


def test_a_restore_that_succeeds_mends_it_though_somebody_holds_the_error(half, agent):
    _, heal, error = half
    agent.names(agent.slot_of(step=1), epoch=3)
    assert heal.restore() == 1
    assert heal.commit(2)
    assert error.__traceback__ is not None


def test_two_that_raised_are_mended_by_one(half, agent):
    fresh, heal, _ = half
    agent.names(agent.slot_of(step=1), epoch=3)
    fresh.stubborn.fails = True
    fresh.optimizer.state.clear()  # it lies elsewhere from now on
    with pytest.raises(ValueError, match="no such file"):
        heal.restore()
    fresh.stubborn.fails = False
    agent.names(agent.slot_of(step=1), epoch=4)
    assert heal.restore() == 1
    assert heal.commit(2)


def test_whoever_loads_a_checkpoint_of_its_own_says_so_and_goes_on_at_its_step(half, agent):
    fresh, heal, _ = half
    fresh.model.load_state_dict(Training().model.state_dict())
    heal.declare_whole()
    assert not heal.commit(1), "the job has come further"
    assert 2 in [seal.epoch for seal in agent.arena.seals().values() if seal.step == 1]


def test_whoever_begins_with_new_objects_is_not_held_up_and_the_old_ones_stay_what_they_are(half, attach, agent):
    fresh, _, _ = half
    heal = attach(Failing(is_own=False))
    agent.answer = agent.answer.model_copy(update={"step": None, "slot": None, "state_digest": None, "rung": "fresh"})
    assert heal.restore() is None
    assert heal.commit(1)
    heal = attach(fresh)
    assert heal.restore() is None
    with pytest.raises(TargetInvalid):
        heal.commit(1)


def test_a_restore_that_is_refused_before_anything_is_written_leaves_what_was_there(attach, agent):
    heal = attach(training := Training(width=4))
    heal.restore()
    training.step()
    heal.commit(1)
    agent.names(agent.slot_of(step=1))
    heal = attach(Training(width=8))
    with pytest.raises(Exception, match="does not fit") as raised:
        heal.restore()
    assert not hasattr(raised.value, "__notes__")
    assert heal.commit(2)
