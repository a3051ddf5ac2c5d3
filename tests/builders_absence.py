"""Jobs that lack a replica: who is left waits, or trains on without it, and who was left out comes back."""

from builders_core import (
    NOW,
    a_generation,
    a_job,
    decided,
    ended,
    held_for,
    m,
    report_of,
    with_new_pod,
    with_report,
    with_trainer,
    without_pod,
)
from checkpointheal_operator.core.view import JobView

WAIT = 30.0
LATER = NOW - 1 + WAIT
"""When `ended` epochs have been over for as long as the others wait."""


def heard_at(view: JobView, when: float) -> JobView:
    """Every agent has spoken just then."""
    return view.model_copy(update={"heard": tuple(each.model_copy(update={"at": when}) for each in view.heard)})


def a_lossy_job(*lost: str, minimum: int | None = 1, **job: object) -> JobView:
    """Those members have no pod any more; the others, on level 2, wait, and have waited for long enough."""
    view = a_job(min_replicas=minimum, go_on_without=WAIT, **job)
    for member in view.policy.members():
        view = with_trainer(view, member, goes_on=True)
    for member in view.policy.members():
        if str(member) not in lost:
            request = report_of(view, member).trainer.request
            view = with_trainer(view, member, state="waiting", epoch=0, request=request + 1)
    for each in lost:
        view = without_pod(view, m(each))
    return heard_at(ended(view, *lost), LATER)


def a_short_job(*lost: str, **job: object) -> JobView:
    """Those who were left go on without the others: epoch 2, three steps on."""
    view, _ = decided(a_lossy_job(*lost, **job), LATER)
    step = view.epoch.step + 3
    for known in view.epoch.members:
        kept = tuple(a_generation(known.member, each, epoch=2) for each in (step, step - 1))
        view = with_trainer(view, known.member, state="training", epoch=2)
        others = tuple(held_for(each.member, step, step - 1) for each in view.epoch.members)
        view = with_report(view, known.member, generations=kept, epoch_seen=2, private_held=others)
    return view


def back(view: JobView, *members: str) -> JobView:
    """New pods have taken their places, and their trainers wait."""
    for each in members:
        gone = tuple(h for h in view.heard if h.report.pod_uid != f"u{each}")
        known = next(h for h in view.heard if h.report.pod_uid == f"u{each}")
        view = with_new_pod(view.model_copy(update={"heard": (*gone, known)}), m(each))
        view = with_trainer(view, m(each), goes_on=True)
    return heard_at(view, LATER)


def all_left(view: JobView) -> JobView:
    """Everybody in the epoch has left it at a commit, and asks again."""
    for known in view.epoch.members:
        view = with_trainer(view, known.member, state="waiting", epoch=0, request=known.request + 1)
    return view
