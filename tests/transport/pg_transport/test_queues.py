"""A queue of a class of its own comes back as long as it may be."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch

import builders_classes as a
import builders_pg as build
from checkpointheal.errors import UnsupportedLeaf
from checkpointheal.manifest import describe, rebuild

QUEUES: dict[str, Callable[[], Any]] = {
    "bounded": lambda: a.Recent([1, torch.ones(2)], maxlen=2),
    "bounded, and nothing in it": lambda: a.Recent(maxlen=0),
    "without a bound": lambda: a.Recent([1, torch.ones(2)]),
    "bounded by its class": lambda: a.LastTwo([1, torch.ones(2)]),
}


@pytest.mark.parametrize("make", QUEUES.values(), ids=QUEUES)
def test_a_queue_of_a_class_of_its_own_keeps_how_long_it_may_be(make: Any) -> None:
    it = make()
    with a.registered(a.Recent, a.LastTwo):
        received = build.cross({"it": it})["it"]
        filled = build.cross({"it": it}, {"it": make()})["it"]
    for each in (received, filled):
        assert (type(each), each.maxlen) == (type(it), it.maxlen)
        assert build.same(list(each), list(it))


def test_a_bounded_queue_whose_class_takes_no_bound_is_refused() -> None:
    bounded = a.Endless.__new__(a.Endless)
    deque.__init__(bounded, (), 3)
    with pytest.raises(UnsupportedLeaf, match=r"it is a Endless \(.*maxlen"):
        describe({"it": bounded})


def test_a_bounded_queue_of_an_older_build_is_read() -> None:
    with a.registered(a.Recent, take_apart=list, put_together=a.Recent):
        older = describe({"it": a.Recent([1, 2], maxlen=3)})
    with a.registered(a.Recent):
        assert rebuild(older.schema, older.values, b"")["it"] == a.Recent([1, 2])
