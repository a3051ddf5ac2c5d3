"""What may be a key of a mapping, and what is said of one that may not?"""

import pytest

import builders_classes as a
from checkpointheal.errors import UnsupportedLeaf
from checkpointheal.manifest import describe


class Whole(int):
    pass


KEYS = {
    "an object": object(),
    "a subclass of int": Whole(3),
    "a tuple with an enum": (a.Colour.RED, 1),
    "a named tuple": a.Pair(1, 2),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_key_that_cannot_cross_is_named_with_what_keys_can_be_for_registering_does_not_help(key):
    sentence = r"^a \(its key .*\) is a \w+, which cannot cross: keys are texts, numbers, .* give a list of pairs$"
    with (
        a.registered(Whole, take_apart=int, put_together=Whole),
        a.registered(a.Pair, a.Colour),
        pytest.raises(UnsupportedLeaf, match=sentence),
    ):
        describe({"a": {key: 2}})
