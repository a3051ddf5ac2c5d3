"""Whoever goes back goes back into the mode, training or evaluation, in which each module was then."""

import gc

from torch import nn

from checkpointheal.trainer.modes import Modes


class Wrapper(nn.Module):
    """As a DDP: it holds the module that was attached."""

    def __init__(self, module: nn.Module, *others: nn.Module) -> None:
        super().__init__()
        self.module, self.others = module, nn.ModuleList(others)


def looked(*modules: nn.Module) -> Modes:
    modes = Modes(modules)
    modes.look()
    modes.note(0)
    return modes


def a_model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)))


def in_training(module: nn.Module) -> list[bool]:
    return [each.training for each in module.modules()]


def test_an_evaluation_is_gone_back_behind() -> None:
    model = a_model()
    modes = looked(model)
    model.eval()
    modes.put_back(0)
    assert in_training(model) == [True] * 5


def test_a_part_that_is_frozen_for_good_stays_so_and_one_that_was_not_yet_is_not() -> None:
    model = a_model()
    modes = looked(model)
    for step, frozen in ((1, model[1][1]), (2, model[1])):
        frozen.eval()
        modes.note(step)
        modes.note(step)
    model.eval()
    for step, then in ((3, [True, True, False, False, False]), (1, [True, True, True, True, False]), (0, [True] * 5)):
        modes.put_back(step)
        assert in_training(model) == then


def test_a_step_that_is_committed_again_has_the_later_mode() -> None:
    model = a_model()
    modes = looked(model)
    model[1].eval()
    modes.note(1)
    modes.put_back(0)
    modes.note(1)
    model.eval()
    modes.put_back(1)
    assert in_training(model) == [True] * 5


def test_what_the_checkpoint_takes_the_place_of_is_as_it_began() -> None:
    model = a_model()
    modes = looked(model)
    model.eval()
    modes.note(1)
    modes.put_back(None)
    assert in_training(model) == [True] * 5


def test_a_process_that_has_noted_nothing_keeps_its_own() -> None:
    model = a_model().eval()
    Modes([model]).put_back(4)
    assert in_training(model) == [False] * 5


def test_what_an_attached_module_is_wrapped_in_goes_back_with_it() -> None:
    model, beside = a_model(), nn.Dropout()
    outer = Wrapper(Wrapper(model), beside)
    modes = looked(model)
    outer.eval()
    modes.put_back(0)
    assert all(in_training(outer))
    assert beside.training


def test_one_that_is_wrapped_later_is_found_at_the_next_look() -> None:
    model = a_model()
    modes = looked(model)
    wrapped = Wrapper(model)
    modes.look()
    modes.note(1)
    wrapped.eval()
    modes.put_back(1)
    assert all(in_training(wrapped))


def test_a_wrapper_is_not_held_and_what_is_gone_is_nobodys() -> None:
    model = a_model()
    wrapped = Wrapper(model)
    modes = looked(model)
    del wrapped, model[1]
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is Wrapper and each.module is model]
    model.eval()
    modes.put_back(0)
    assert in_training(model) == [True, True]


def test_one_that_merges_its_weights_to_evaluate_hears_that_it_trains_again() -> None:
    class Merging(nn.Linear):
        """As LoRA's."""

        merged = False

        def train(self, mode: bool = True) -> nn.Module:
            self.merged = not mode
            return super().train(mode)

    model = nn.Sequential(Merging(2, 2))
    modes = looked(model)
    model.eval()
    modes.put_back(0)
    assert not model[0].merged
