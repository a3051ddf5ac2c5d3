"""What one donor of several hears, whenever it comes."""

import pytest

from builders_wire import STEP, an_offer
from checkpointheal.contract.layout import Identity
from checkpointheal.errors import BytesDiffer
from checkpointheal.gathering import Gathering


def test_a_donor_that_comes_once_all_is_over_hears_all_the_same_that_it_was_outvoted() -> None:
    gathering = Gathering(sink=None, ranks=range(4))  # type: ignore[arg-type]
    for rank in (0, 1, 2):
        gathering.tell(rank, an_offer())
    gathering.seal()
    gathering.tell(3, an_offer(identity=Identity(step=STEP, schema_digest="e" * 32, state_digest="f" * 32)))
    assert gathering.ask(0, 0.0) is None
    with pytest.raises(BytesDiffer, match="3 of 4 donors hold"):
        gathering.ask(3, 0.0)
