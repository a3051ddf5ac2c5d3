"""Which pods of the latest epoch does their policy not mean any more, though they run?

A label, a selector or an annotation was edited; neither the pod is gone nor its memory. Whoever took it for lost would
end a healthy epoch for one wrong word. A pod whose place another one has is replaced, and one that the layout has no
place for is let go. Pure; must not know what follows.
"""

from collections.abc import Iterable, Iterator

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import AgentReport
from checkpointheal.contract.seats import pod_name, pod_of
from checkpointheal_operator.api.job_status import EpochStatus
from checkpointheal_operator.core.identity import Placed, Unplaced
from checkpointheal_operator.core.injection_settings import INJECT
from checkpointheal_operator.shell.mirror import uid_of
from checkpointheal_operator.shell.objects import JobObjects, KnownPod, lies_there, placed, was_done

FOR_GOOD = "or delete it, where it is to leave for good"
NOT_SELECTED = (
    "spec.selector does not select it any more: put the selector or the pod's labels back, "
    f"{FOR_GOOD}, or lower spec.layout.replicas if its place is the last"
)
NOT_OPTED_IN = f'its label {INJECT} is not "true" any more, so nobody sees it: put the label back, {FOR_GOOD}'


def astray(objects: JobObjects, hidden: Iterable[AgentReport] = ()) -> Iterator[tuple[str, str]]:
    """The name of each, and what was edited and helps. Of a run that is done, none is missed.

    `hidden`: what the agents say of those that are there, and did not opt in.
    """
    epoch, (_job, pods) = objects.policy.status.epoch, placed(objects)
    if epoch is None or was_done(objects):
        return
    known = _pods_of(epoch, objects.policy.spec.layout.replicas)
    here = {uid_of(pod.object) for _, pod in pods if _holds(pod, known.get(uid_of(pod.object)))}
    if known.keys() <= here:
        return
    held = {facts.member for _, pod in pods if not lies_there(pod.object) for facts in pod.facts}
    for uid, name, edited in (
        *_seen(objects),
        *((pod_of(each.pod_uid), pod_name(each.pod), NOT_OPTED_IN) for each in hidden),
    ):
        member = None if uid in here else known.get(uid)
        if member is not None and member not in held:
            yield name, f"holds {member} in epoch {epoch.number}, and {edited}"


def _seen(objects: JobObjects) -> Iterator[tuple[str, str, str]]:
    """The uid and the name of each pod that is at work, and what was edited if it is astray."""
    selected = ((pod, _marks(pod.where)) for pod in objects.pods)
    for pod, edited in (*((pod, NOT_SELECTED) for pod in objects.strays), *selected):
        if not lies_there(pod.object):
            yield uid_of(pod.object), pod.object["metadata"]["name"], edited


def _holds(pod: KnownPod, member: MemberId | None) -> bool:
    return member is not None and any(facts.member == member for facts in pod.facts)


def _marks(where: Placed | Unplaced) -> str:
    """What a pod that is selected says of itself now."""
    now = where.message if isinstance(where, Unplaced) else f"its place is {where.member} of job {where.job}"
    return f"its marks were edited: {now}; put them back, {FOR_GOOD}"


def _pods_of(epoch: EpochStatus, replicas: int | None) -> dict[str, MemberId]:
    """The first seat's place of each pod, but of those that the layout has no place for."""
    places: dict[str, MemberId] = {}
    for each in epoch.members:
        if replicas is None or each.member.replica < replicas:
            places.setdefault(pod_of(each.pod_uid), each.member)
    return places
