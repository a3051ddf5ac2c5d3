"""Between whom may a drill be?

Every recipient with every donor of its coordinate, one pair after the other, from one drill to the next.
"""

from collections.abc import Iterator
from itertools import islice

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import Generation
from checkpointheal_operator.core.channel import crossing
from checkpointheal_operator.core.differing import differing, tell_differing
from checkpointheal_operator.core.drill_hindrance import Why
from checkpointheal_operator.core.drill_record import DrillPlan, DrillSide
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.protection import lacks_certificate
from checkpointheal_operator.core.reasons import Reason

TRIED_PAIRS = 256
"""Of a job with more, the next drill goes on where this one left off."""


def first_pair(moment: Moment, turn: int) -> tuple[int, DrillPlan | Why]:
    """The first pair that may, from the turn on, or why none may; and the turn of the next drill."""
    policy = moment.view.policy
    first, apart = f"there are no two replicas, but {policy.replicas}", differing(moment)
    for tried, (number, recipient, donor) in enumerate(islice(_pairs(policy, turn), TRIED_PAIRS)):
        taker, giver = moment.places[recipient], moment.places[donor]
        plan = _plan(moment, taker, giver) if recipient.coordinate not in apart else _differ(apart)
        if isinstance(plan, DrillPlan):
            return number + 1, plan
        first = first if tried else plan[1]
    return turn + TRIED_PAIRS, (Reason.NO_PAIR, Reason.NO_PAIR.tell(what=first))


def _pairs(policy: Policy, turn: int) -> Iterator[tuple[int, MemberId, MemberId]]:
    """Every recipient with every donor of its coordinate, from the turn on and around once."""
    size = policy.replicas * policy.ranks
    count = size * (policy.replicas - 1)
    for number in range(turn, turn + count):
        far, seat = divmod(number % count, size)
        replica, rank = divmod(seat, policy.ranks)
        donor = MemberId(replica=(replica + far + 1) % policy.replicas, rank=rank)
        yield number % count, MemberId(replica=replica, rank=rank), donor


def _plan(moment: Moment, taker: Place, giver: Place) -> DrillPlan | Why:
    """The one may be given the newest state of the other, or may not."""
    recipient, donor = _side(moment, taker), _side(moment, giver)
    if not isinstance(recipient, DrillSide):
        return recipient
    if not isinstance(donor, DrillSide):
        return donor
    given, own = _newest(moment, giver), _newest(moment, taker)
    if given is None or given.identity is None:
        return Reason.HOLDS_NOTHING, Reason.HOLDS_NOTHING.tell(member=giver.member)
    if own is not None and own.schema_digest != given.schema_digest:
        return Reason.SCHEMA_DIFFERS, Reason.SCHEMA_DIFFERS.tell(member=giver.member, step=given.step)
    channel = crossing(moment.view.policy, taker.report, (giver.report,)).channel
    deadline = moment.view.policy.patience(given.bytes)
    return DrillPlan(recipient=recipient, donor=donor, identity=given.identity, channel=channel, deadline=deadline)


def _differ(coordinates: tuple[int, ...]) -> Why:
    """Bytes would cross, and a heal would not work all the same."""
    return Reason.REPLICAS_DIFFER, tell_differing(coordinates)


def _side(moment: Moment, place: Place) -> DrillSide | Why:
    """A member's part in it, or why it takes none."""
    peer, reason = place.peer, _unfit(moment, place)
    if peer is None or reason is not None:
        reason = reason or Reason.POD_GONE
        return reason, reason.tell(member=place.member)
    return DrillSide(member=peer.member, pod=peer.pod, pod_uid=peer.pod_uid)


def _unfit(moment: Moment, place: Place) -> Reason | None:
    if place.pod is not None and place.pod.terminating:
        return Reason.DRAINING
    if place.report is None or not place.report.drills:
        return Reason.AGENT_TOO_OLD
    needs_certificate = moment.view.policy.channel == "tls"
    return Reason.NOT_CERTIFIED if needs_certificate and lacks_certificate(place.report) else None


def _newest(moment: Moment, place: Place) -> Generation | None:
    """That was read through."""
    known = moment.generations(place.report).values()
    return max((each for each in known if each.state_digest is not None), key=lambda each: each.step, default=None)
