"""What follows the end of a trainer, over the whole space of ends, counts and times."""

import itertools

import pytest

from checkpointheal.contract.trainer import EXIT_EPOCH_OVER
from checkpointheal.run.restarts import Leave, Life, Limits, Start, after

# Factors: how it ended; whether the agent ordered it; whether run is leaving; earlier failures; how long it lived.
ENDS = [{"code": 0}, {"code": 1}, {"code": 255}, {"code": EXIT_EPOCH_OVER}, {"signal": 9}, {"signal": 15}]
EARLIER = [0, 1, 2, 3, 4]
LIVED = [0.0, 0.4, 5000.0]
LIMITS = Limits(restarts=3, backoff=2.0, ceiling=3.0, window=100.0, settled=4000.0, spacing=1.0)
NOW = 10_000.0
SPACE = list(itertools.product(ENDS, [False, True], [False, True], EARLIER, LIVED))


def expected(end, ordered, leaving, earlier, lived):
    """The table of the module's docstring, as one would read it aloud."""
    status = end["code"] if "code" in end else 128 + end["signal"]
    if leaving or status == 0:
        return "leave", status
    no_sooner = NOW - lived + 1.0
    if ordered or status == EXIT_EPOCH_OVER:
        return "start", max(NOW, no_sooner), earlier
    earlier = 0 if lived == 5000.0 else earlier
    if earlier + 1 > 3:
        return "leave", status
    return "start", max(NOW + [0.0, 2.0, 3.0][earlier], no_sooner), earlier + 1


@pytest.mark.parametrize(("end", "ordered", "leaving", "earlier", "lived"), SPACE)
def test_every_end_is_followed_by_what_the_table_says(end, ordered, leaving, earlier, lived):
    failures = tuple(NOW - 10.0 - each for each in range(earlier))
    life = Life(NOW - lived, NOW, ordered=ordered, **end)
    match after(life, failures, LIMITS, leaving=leaving):
        case Leave(status):
            found = ("leave", status)
        case Start(at, kept):
            found = ("start", at, len(kept))
    assert found == expected(end, ordered, leaving, earlier, lived)


@pytest.mark.parametrize("ago", [99.9, 100.0, 1e6])
def test_a_failure_older_than_the_window_is_forgotten(ago):
    following = after(Life(NOW - 9, NOW, code=1), (NOW - ago,) * 3, LIMITS, leaving=False)
    assert isinstance(following, Leave) == (ago < 100.0)


@pytest.mark.parametrize("earlier", range(3))
def test_the_pause_doubles_up_to_its_ceiling(earlier):
    following = after(Life(NOW - 9, NOW, code=1), (NOW - 1,) * earlier, LIMITS, leaving=False)
    assert following.at - NOW == [0.0, 2.0, 3.0][earlier]


@pytest.mark.parametrize(
    ("life", "failures", "sentence"),
    [
        (Life(NOW - 9, NOW, code=3), (), "exit 3, failure 1 of 3"),
        (Life(NOW - 9, NOW, signal=9), (NOW,), "signal 9, failure 2 of 3"),
        (Life(NOW - 9, NOW, signal=9), (NOW,) * 3, "signal 9, failure 4 in 100 s: no more restarts"),
        (Life(NOW - 9, NOW, signal=9, ordered=True), (), "killed, it stood still"),
        (Life(NOW - 9, NOW, code=EXIT_EPOCH_OVER), (), "its epoch is over"),
    ],
)
def test_every_answer_says_why(life, failures, sentence):
    assert after(life, failures, LIMITS, leaving=False).why == sentence
