"""Is the job that is there another run than the one that the records are of?

Where it bears another name, or where the run before was done, and none of that run's pods holds a place any more: then
nothing that is remembered is of it, neither steps that were reached nor witnesses nor who was left out. One of the same
name that begins before the run before was done may be that very run, whose pods were all lost: it keeps the records.
Memory is asked all the same. Must not know what the run begins with.
"""

from checkpointheal_operator.core.beginning import highest_epoch
from checkpointheal_operator.core.decisions import EndEpoch
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.reasons import Reason


def new_run(moment: Moment) -> EndEpoch | None:
    """Close whatever epoch anybody knew of, and forget it; None where the records are of this run, or of none."""
    epoch = moment.view.epoch
    if not epoch.members or not any(pod.is_at_work for pod in moment.view.pods):
        return None
    why = _why(moment)
    if not why or _is_there_still(moment):
        return None
    message = Reason.NEW_RUN.tell(why=why)
    return EndEpoch(epoch=highest_epoch(moment) + 1, lost=(), anew=True, reason=Reason.NEW_RUN, message=message)


def _why(moment: Moment) -> str:
    view = moment.view
    if view.known_as not in ("", view.job):
        return f"the job was {view.known_as}, and is {view.job}"
    if view.was_done or moment.has_begun_anew:
        return "all of the one before were done, and other pods are there"
    return ""


def _is_there_still(moment: Moment) -> bool:
    """A pod of the latest epoch, or one that is older than that, as of who was left out: its memory is of that run.

    One on its way out gives nothing any more.
    """
    epoch = moment.view.epoch
    known, began_at = {each.pod_uid for each in epoch.members}, epoch.began_at or float("-inf")
    holding = (place.pod for place in moment.places.values() if place.pod is not None and not place.pod.terminating)
    return any(pod.uid in known or pod.seen_since < began_at for pod in holding)
