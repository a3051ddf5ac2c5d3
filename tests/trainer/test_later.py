"""A state whose objects come later is held for them, exactly, and found to be theirs once they are there."""

import pytest
import torch
from torch import nn

from builders_trainer import given, state_digest
from checkpointheal.errors import AppliedStateDiffers, Misuse
from checkpointheal.manifest import describe
from checkpointheal.trainer.apply import apply
from checkpointheal.trainer.forming import Given
from checkpointheal.trainer.later import Later
from checkpointheal.trainer.parts import declare


def a_model() -> nn.Module:
    """With a tie, a view of another stride, and an empty buffer."""
    model = nn.Sequential(nn.Embedding(4, 8), nn.Linear(8, 4, bias=False))
    model[1].weight = model[0].weight
    model.register_buffer("turned", torch.rand(3, 5).t())
    model.register_buffer("empty", torch.empty(0))
    return model


def trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = a_model()
    optimizer = torch.optim.AdamW(model.parameters())
    model[1](model[0](torch.tensor([0, 3]))).square().sum().backward()
    optimizer.step()
    return model, optimizer


def held(generation: Given) -> dict[str, Later]:
    later = {"model": Later(), "optimizer": Later()}
    apply(declare(later, {}), generation)
    return later


def test_it_holds_exactly_what_was_kept_without_any_object():
    model, optimizer = trained()
    generation = given(model=model, optimizer=optimizer)
    later = {"model": Later(), "optimizer": Later()}
    digest = apply(declare(later, {}), generation)
    assert digest == state_digest(describe(declare({"model": model, "optimizer": optimizer}, {}).replicated_state()))


def test_what_it_holds_is_its_own_and_ties_are_ties():
    generation = given(model=a_model(), optimizer=trained()[1])
    state = held(generation)["model"].held
    kept = state["0.weight"].clone()
    generation.data[:] = bytes(len(generation.data))
    assert torch.equal(state["0.weight"], kept)
    assert state["0.weight"].data_ptr() == state["1.weight"].data_ptr()


def test_once_the_object_holds_it_the_part_is_the_object():
    model, optimizer = trained()
    later = held(given(model=model, optimizer=optimizer))
    fresh = a_model()
    fresh.load_state_dict(dict(later["model"].held))
    later["model"].become(fresh)
    assert later["model"].held == {}
    assert later["model"].state_dict()["0.weight"].data_ptr() == fresh[0].weight.data_ptr()


def test_an_object_that_loaded_otherwise_is_named_by_what_differs():
    model, optimizer = trained()
    later = held(given(model=model, optimizer=optimizer))
    with pytest.raises(AppliedStateDiffers, match=r"0\.weight"):
        later["model"].become(a_model())


def test_an_object_of_another_form_is_named_too():
    model, optimizer = trained()
    later = held(given(model=model, optimizer=optimizer))
    with pytest.raises(AppliedStateDiffers, match="form"):
        later["optimizer"].become(torch.optim.SGD(model.parameters()))


def test_without_a_state_any_object_will_do():
    later = Later()
    model = a_model()
    later.become(model)
    assert later.state_dict().keys() == model.state_dict().keys()


def test_what_is_loaded_goes_to_the_object_once_there_is_one():
    later, model, other = Later(), a_model(), a_model()
    later.become(model)
    later.load_state_dict(other.state_dict())
    assert torch.equal(model[0].weight, other[0].weight)


def test_a_state_for_objects_that_are_there_already_is_refused():
    later = Later()
    later.become(a_model())
    with pytest.raises(Misuse, match="before the objects"):
        later.make_room({})
