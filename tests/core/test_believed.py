"""One agent's lie about how far its job has counted leaves the others something to count with."""

from builders_core import decided, m, replaced, with_report
from checkpointheal.contract.base import MOST
from checkpointheal_operator.core.believed import COUNTED, believed
from checkpointheal_operator.core.decisions import Assign, EndEpoch


def test_only_what_can_have_been_counted_is_believed() -> None:
    assert list(believed([0, 7, COUNTED - 1, COUNTED, MOST])) == [0, 7, COUNTED - 1]


def test_attempts_and_epochs_go_on_after_the_highest_number_there_is() -> None:
    view = with_report(replaced("1/0"), m("2/0"), attempt_seen=MOST, epoch_seen=MOST)
    view, decisions = decided(view)
    assert [each.assignment.attempt for each in decisions if isinstance(each, Assign)] == [1]
    assert not any(isinstance(each, EndEpoch) for each in decisions)


def test_after_the_highest_number_that_is_believed_there_is_room() -> None:
    view = with_report(replaced("1/0"), m("2/0"), attempt_seen=COUNTED - 1)
    view, decisions = decided(view)
    assert [each.assignment.attempt for each in decisions if isinstance(each, Assign)] == [COUNTED]
    seen = with_report(view, m("1/0"), attempt_seen=COUNTED)
    gone = seen.model_copy(update={"pods": tuple(pod for pod in seen.pods if pod.member != m("0/0"))})
    assert [each.assignment.attempt for each in decided(gone)[1] if isinstance(each, Assign)] == [COUNTED + 1]
