"""A state is taken note of in containers of its own; what may change under whoever looks later is looked at at once."""

from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch

from checkpointheal.trainer.moment import Living, address, still


def as_it_is(tensor):
    return tensor


def test_containers_that_change_afterwards_are_as_they_were():
    inner, array = [1, 2.5, None], np.arange(3)
    state = {"a": inner, "b": OrderedDict(c=("x", True)), "d": array}
    noted = still(state, as_it_is)
    inner.append(3)
    state["b"]["c"] = ()
    array[0] = 7
    assert noted["a"] == [1, 2.5, None]
    assert noted["b"] == OrderedDict(c=("x", True))
    assert noted["d"].tolist() == [0, 1, 2]
    assert type(noted["b"]) is OrderedDict


def test_tensors_come_in_the_order_of_the_tree():
    found = []
    tree = {
        "a": torch.tensor(0),
        "b": [torch.tensor(1), (torch.tensor(2),)],
        "c": torch.nn.Parameter(torch.tensor(3.0)),
    }

    def take(tensor):
        found.append(int(tensor))
        return found[-1]

    assert still(tree, take) == {"a": 0, "b": [1, (2,)], "c": 3}
    assert found == [0, 1, 2, 3]


@pytest.mark.parametrize("living", [object(), Counter("ab"), {1, 2}, np.array([object()]), range(3)])
def test_what_may_change_is_looked_at_at_once(living):
    with pytest.raises(Living):
        still({"a": [living]}, as_it_is)


def test_a_tensor_is_where_its_first_element_is():
    whole = torch.arange(8)
    assert address(whole[2:]) == whole.data_ptr() + 2 * whole.element_size()
