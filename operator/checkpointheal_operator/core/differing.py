"""Which replicas differ by themselves, so that nobody can be given another's state?

Their members hold different bytes of a step, and never held one alike: a part that is each rank's own was declared as
one that all share. Where they ever shared a step, other bytes are damage, and the vote decides. Must not know at which
step the job goes on.
"""

from collections import defaultdict

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.alike import alike
from checkpointheal_operator.core.likeness import by_coordinate
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.reasons import Reason, named


def differing(moment: Moment) -> tuple[int, ...]:
    """Coordinates, in order. What is written of the epoch counts first: agents forget, and leaders change.

    None where the policy compares nobody: its replicas may be meant to differ between two synchronisations.
    """
    view = moment.view
    if not view.policy.probation_steps:
        return ()
    shared = _shared(moment)
    reports, lost = by_coordinate(view, besides=shared), _of_lost(moment)
    asked = (each for each in range(view.policy.ranks) if each not in shared)
    said = ((each, {alike(reports.get(each, ())), *lost[each]}) for each in asked)
    return tuple(each for each, found in said if True not in found and (False in found or each in view.epoch.apart))


def _shared(moment: Moment) -> frozenset[int]:
    """A member that began the epoch on probation began it with its peers' very bytes, whoever wrote it down."""
    epoch = moment.view.epoch
    return frozenset((*epoch.alike, *(each.member.coordinate for each in epoch.members if each.trial)))


def first_of(coordinates: tuple[int, ...]) -> MemberId:
    """The member at which it is told; there is one coordinate at least."""
    return MemberId(replica=0, rank=coordinates[0])


def tell_differing(coordinates: tuple[int, ...]) -> str:
    """That these differ, and what helps."""
    return Reason.REPLICAS_DIFFER.tell(coordinates=named(coordinates))


def _of_lost(moment: Moment) -> defaultdict[int, set[bool | None]]:
    """By coordinate, whether those whom the latest epoch has lost were ever like the others."""
    found: defaultdict[int, set[bool | None]] = defaultdict(set)
    for each in moment.view.remembered:
        known = moment.enrolled.get(each.member)
        if known is not None and known.pod_uid == each.pod_uid:
            found[each.member.coordinate].add(each.alike)
    return found
