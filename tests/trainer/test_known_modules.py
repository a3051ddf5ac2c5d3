"""A survivor begins an epoch without a look at each object of its process, and misses no wrapper for that."""

import gc
import weakref

import pytest
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from checkpointheal.trainer.known_modules import KnownModules
from checkpointheal.trainer.mending import mend, require_survivable
from checkpointheal.trainer.modes import Modes


class Unhashable(nn.Module):
    """As a class that compares by its configuration."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        raise AssertionError("nobody asked whether it is like another")


def is_known(module: nn.Module, known: KnownModules) -> bool:
    return any(each is module for each in known.living())


def test_what_was_there_before_and_what_is_made_afterwards_are_known() -> None:
    before = nn.Sequential(nn.Linear(1, 1))
    known = KnownModules()
    inner, appended = nn.Dropout(), nn.ReLU()
    after = nn.ModuleDict({"inner": nn.ModuleList([inner])})
    after["inner"].append(appended)
    for each in (before, before[0], after, after["inner"], inner, appended):
        assert is_known(each, known)


def test_one_that_is_put_where_another_was_or_by_its_name_alone_is_known() -> None:
    known, holder, new, named = KnownModules(), nn.Sequential(nn.ReLU()), nn.Tanh(), nn.Sigmoid()
    holder[0] = new
    holder.add_module("named", named)
    holder.add_module("nothing", None)
    holder.nothing = None
    assert is_known(new, known)
    assert is_known(named, known)


def test_one_without_a_hash_is_known_and_never_compared() -> None:
    known, one, other = KnownModules(), Unhashable(), Unhashable()
    one.inner = other
    assert is_known(one, known)
    assert is_known(other, known)


def test_nobodys_module_stays_for_this() -> None:
    class Holder(nn.Sequential):
        """Nobody else has one."""

    known = KnownModules()
    holder = Holder(nn.ReLU())
    gone = weakref.ref(holder)
    assert is_known(holder, known)
    del holder
    gc.collect()
    assert gone() is None
    assert not [each for each in known.living() if isinstance(each, Holder)]


def test_behind_the_first_look_no_epoch_looks_at_every_object(stable_group, monkeypatch) -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    modes = Modes([model])
    modes.look()
    monkeypatch.setattr(gc, "get_objects", lambda: pytest.fail("looked at every object"))
    monkeypatch.setattr(gc, "collect", lambda: pytest.fail("collected"))
    wrapped = DistributedDataParallel(model, process_group=stable_group, find_unused_parameters=True)
    require_survivable([model])
    modes.look()
    modes.note(0)
    wrapped.eval()
    modes.put_back(0)
    assert wrapped.training
    mend([model])
