"""The bench of a donor that gives says what its blocks come to, and where the promise is broken."""

import pytest
from bench.fanout.crew import Given
from bench.fanout.rounds import WAYS, shown


@pytest.mark.parametrize(("slower", "is_kept"), [(1.04, True), (1.06, False)])
def test_a_donor_that_is_slowed_down_is_seen_whatever_two_of_twelve_blocks_say(slower: float, is_kept: bool) -> None:
    pairs = [(slower, 1.0)] * 8 + [(9.0, 1.0)] * 2 + [(0.1, 1.0)] * 2
    ratio, given = shown(WAYS[0], pairs, [Given(bytes=300_000_000, seconds=3.0, verified=1)] * 2)
    assert (ratio.value, ratio.is_kept) == (slower, is_kept)
    assert f"96 % between {slower:.3f} and {slower:.3f}" in ratio.note
    assert (given.value, given.note) == (100.0, "2 states arrived whole")
