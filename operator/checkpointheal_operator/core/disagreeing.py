"""Do members that were alike hold different bytes by now, though nobody is lost?

Then memory is damaged, or a part has become each rank's own in mid-training: whoever is lost next may find nobody who
is believed. A step that only one has read yet is no disagreement. Must not know what follows.
"""

from collections import defaultdict
from collections.abc import Mapping

from checkpointheal_operator.core.alike import Bytes
from checkpointheal_operator.core.differing import differing
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.prospects import ballots_of
from checkpointheal_operator.core.reasons import Reason, named


def disagreeing(moment: Moment) -> Mapping[int, int]:
    """By coordinate the latest step of the open epoch that two members of one build have read, where they differ in it.

    Not of coordinates whose replicas differ by themselves: that is said already.
    """
    epoch = moment.view.epoch
    if not epoch.open or not moment.view.policy.probation_steps:
        return {}
    found = {
        coordinate: step for (coordinate, _), held in _read(moment).items() if (step := _apart_at(held)) is not None
    }
    different = differing(moment) if found else ()
    return {each: found[each] for each in sorted(found) if each not in different}


def tell_disagreeing(found: Mapping[int, int]) -> str:
    """That these do, and what it may mean."""
    return Reason.MEMBERS_DISAGREE.tell(coordinates=named(tuple(found)), step=min(found.values()))


def is_undecided(moment: Moment) -> bool:
    """Whether nothing tells of some of them who is right: a loss there takes the job to the user's checkpoint."""
    ballots = (ballots_of(moment, coordinate)[step] for coordinate, step in disagreeing(moment).items())
    return any(Reason.NO_MAJORITY in ballot.refused.values() for ballot in ballots)


def _read(moment: Moment) -> Mapping[tuple[int, str], Mapping[int, list[Bytes]]]:
    """By coordinate and build, what each step is that was sealed in this epoch."""
    read: defaultdict[tuple[int, str], dict[int, list[Bytes]]] = defaultdict(dict)
    for member in (each for each in moment.members if not moment.places[each].is_done):
        report = moment.places[member].report
        held = read[member.coordinate, report.build if report is not None else ""]
        for each in moment.held[member].values():
            if each.epoch == moment.view.epoch.number and each.state_digest is not None:
                held.setdefault(each.step, []).append((each.schema_digest, each.state_digest))
    return read


def _apart_at(held: Mapping[int, list[Bytes]]) -> int | None:
    latest = max((step for step, seen in held.items() if len(seen) > 1), default=None)
    return latest if latest is not None and len({*held[latest]}) > 1 else None
