"""By which channel a state crosses: what the policy names, but gloo only between agents of one torch."""

import pytest

from builders_core import decided, m, replaced, with_report
from checkpointheal.contract.report import Flaw
from checkpointheal_operator.core.decisions import Assign, Wait
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.view import JobView

RECIPIENT = m("1/0")
DIFFERS = (
    "1/0 holds no usable state of step 10; the agent of 2/0 runs torch 2.6.0, that of 1/0 torch 2.15.0: gloo promises "
    "nothing between two versions, so the state crosses over TLS"
)


def job(first: str, recipient: str, second: str, channel: str = "gloo", certified: bool = True) -> JobView:
    """Three members whose agents have these torches; the middle one was replaced."""
    view = replaced("1/0", channel=channel)
    for member, torch in (("0/0", first), ("1/0", recipient), ("2/0", second)):
        view = with_report(view, m(member), torch=torch, certified=certified)
    return view


def assigned(view: JobView) -> Assign:
    return next(each for each in decided(view)[1] if isinstance(each, Assign))


def test_gloo_carries_between_agents_of_one_torch() -> None:
    plan = assigned(job("2.15.0", "2.15.0", "2.15.0"))
    assert (plan.assignment.channel, plan.reason) == ("gloo", Reason.STATE_MISSING)


def test_where_one_donor_has_another_torch_the_stream_stands_in_for_gloo_and_the_plan_says_so() -> None:
    plan = assigned(job("2.15.0", "2.15.0", "2.6.0"))
    assert [str(each.member) for each in plan.assignment.donors] == ["0/0", "2/0"], "the second may have to take over"
    assert (plan.assignment.channel, plan.reason, plan.message) == ("tls", Reason.CHANNEL_VERSION_DIFFERS, DIFFERS)


def test_a_later_attempt_crosses_by_the_same_channel_and_tells_why_it_is_made() -> None:
    view, _ = decided(job("2.6.0", "2.15.0", "2.15.0"))
    gone = view.model_copy(update={"pods": tuple(pod for pod in view.pods if pod.member != m("0/0"))})
    plan = assigned(gone)
    assert (plan.assignment.channel, plan.reason) == ("gloo", Reason.DONOR_LOST), "those that are left have one torch"
    both = job("2.6.0", "2.15.0", "2.6.0")
    view, _ = decided(both)
    gone = view.model_copy(update={"pods": tuple(pod for pod in view.pods if pod.member != m("0/0"))})
    plan = assigned(gone)
    assert (plan.assignment.channel, plan.reason) == ("tls", Reason.DONOR_LOST)
    assert plan.message.startswith("the donor of attempt 1 is gone; the agent of 2/0 runs torch 2.6.0")


@pytest.mark.parametrize(
    ("donors", "recipient"),
    [("2.15.0", "2.15.1+cpu"), ("2.15.0+cu130", "2.15.0"), ("", "2.15.0"), ("2.6.0", "")],
    ids=["a patch", "another way of building", "an older build of the donor's", "an older build of the recipient's"],
)
def test_these_are_no_other_torch(donors: str, recipient: str) -> None:
    assert assigned(job(donors, recipient, donors)).assignment.channel == "gloo"


def test_agents_without_certificates_have_nothing_but_gloo() -> None:
    plan = assigned(job("2.6.0", "2.15.0", "2.6.0", certified=False))
    assert (plan.assignment.channel, plan.reason) == ("gloo", Reason.STATE_MISSING)


def test_over_tls_torches_may_differ() -> None:
    plan = assigned(job("2.6.0", "2.15.0", "2.6.0", channel="tls"))
    assert (plan.assignment.channel, plan.reason) == ("tls", Reason.STATE_MISSING)


def test_a_recipient_that_needs_the_stream_waits_for_its_certificate() -> None:
    view = with_report(job("2.6.0", "2.15.0", "2.6.0"), RECIPIENT, flaws=(Flaw(reason="NoCertificate"),))
    last = decided(view)[1][-1]
    assert isinstance(last, Wait)
    assert last.reason == Reason.NOT_CERTIFIED
