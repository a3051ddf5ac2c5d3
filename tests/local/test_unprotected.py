"""That a member is not protected is a line on the screen, once."""

from builders_core import a_generation, a_job, m, with_report
from checkpointheal.contract.report import Flaw
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.local.unprotected import Unprotected

FULL = Flaw(reason="ArenaDoesNotFit", message="/dev/shm has no room", arena_bytes=1 << 30)
PASSING = Flaw(reason="PrivatePartNotKept", message="its buddy was just replaced")
ODD = Flaw(reason="SchemaDiffers", message="model.weight: shape is (4, 4), here (8, 8)")


def with_flaws(*flaws: Flaw) -> JobView:
    return with_report(a_job(), m("1/0"), flaws=flaws)


def test_what_lasts_is_told_once_and_what_passes_is_not() -> None:
    telling = Unprotected()
    assert list(telling.new(with_flaws(FULL, PASSING))) == [
        "1/0 is not protected: ArenaDoesNotFit: /dev/shm has no room"
    ]
    assert list(telling.new(with_flaws(FULL))) == []
    assert list(telling.new(with_flaws(FULL, ODD))) == [
        "1/0 is not protected: SchemaDiffers: model.weight: shape is (4, 4), here (8, 8)"
    ]


def test_that_replicas_differ_by_themselves_is_told_once_however_often_it_is_seen() -> None:
    telling, view = Unprotected(), a_job(replicas=2)
    own = with_report(view, m("1/0"), generations=(a_generation(m("1/0"), 10, state_digest="e" * 32),))
    (told,) = telling.new(own)
    assert told.startswith("the job is not protected: ReplicasDiffer: the replicas of coordinate 0 differ")
    assert list(telling.new(view)) == list(telling.new(own)) == []
