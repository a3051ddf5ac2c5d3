"""Is a drill due, between whom, and how did it end?

A drill gives a member a state as a heal would, and nothing is kept of it: it tells beforehand that a heal would work,
and how long it would take. Only where everyone trains and nobody is being healed, one at a time; whatever matters more
ends it. No decision reads what is written here, so a drill changes and delays no heal.
"""

from collections.abc import Iterator
from hashlib import sha256
from itertools import islice

from checkpointheal.contract.gateway import Drill, DrillFacts, Generation, Peer
from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.channel import crossing
from checkpointheal_operator.core.diagnosis import losses
from checkpointheal_operator.core.moment import Moment, Place, at
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.protection import lacks_certificate
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.view import DrillPlan, DrillRecord, DrillSide, JobView

SPARE_SECONDS = 10.0
"""For orders and reports on their way: agents themselves let go at the deadline."""
TRIED_PAIRS = 256
"""Of a job with more, the next drill goes on where this one left off."""

LONGEST, LONGEST_WORD = 1024, 63
"""Characters of a message and of a reason that are kept, whoever said them."""

Why = tuple[Reason, str]


def next_drill(view: JobView, now: float) -> DrillRecord | None:
    """What is to be written down: a drill begins, ends or is refused. None: as it was."""
    drill, asked, due = view.drill, _asked(view), _due(view)
    if drill is not None and drill.is_open:
        return _ended(at(view, now), drill)
    if asked:
        return _answered(at(view, now), asked)
    if due is None or now < due or _hindrance(moment := at(view, now)) is not None:
        return None
    return _begun(moment, drill.request if drill else "")


def wakes_at(view: JobView, now: float) -> float | None:
    """When time alone may change the answer; None: only a request or a report can."""
    due = _due(view)
    return due if due is not None and due > now else None


def _due(view: JobView) -> float | None:
    """When the next drill may begin by the policy, or the one under way must have ended."""
    drill, every = view.drill, view.policy.drill_every
    if drill is not None and drill.is_open:
        return _overdue_at(drill)
    if every is None or not view.epoch.open or view.epoch.began_at is None:
        return None
    last = view.epoch.began_at if drill is None or drill.ended_at is None else drill.ended_at
    return max(last, view.epoch.began_at) + every


def drill_order(moment: Moment) -> Drill | None:
    """What recipient and donor of the drill under way are told; None as soon as anything matters more."""
    record = moment.view.drill
    if record is None or record.plan is None or not record.is_open or _hindrance(moment) is not None:
        return None
    recipient, donor = (_peer(moment, side) for side in (record.plan.recipient, record.plan.donor))
    if recipient is None or donor is None:
        return None
    return Drill(
        heal=record.name,
        attempt=1,
        recipient=recipient,
        donors=(donor,),
        deadline=record.plan.deadline,
        bytes_per_second=moment.view.policy.bytes_per_second,
        channel=record.plan.channel,
        **dict(record.plan.identity),
    )


def _asked(view: JobView) -> str:
    """A request that nobody has taken up yet."""
    known = view.drill.request if view.drill else ""
    return "" if view.drill_asked == known else view.drill_asked


def _answered(moment: Moment, asked: str) -> DrillRecord | None:
    """A leader that has just begun hears its agents before it says no."""
    if any(moment.awaited_until(moment.places[member]) is not None for member in moment.members):
        return None
    why = _hindrance(moment)
    return _begun(moment, asked) if why is None else _refused(moment, asked, why)


def _hindrance(moment: Moment) -> Why | None:
    """Why no drill may be under way in this job."""
    view, reason = moment.view, Reason.NOT_TRAINING
    for heal in view.heals:
        if heal.is_open:
            return Reason.HEAL_UNDER_WAY, Reason.HEAL_UNDER_WAY.tell(member=heal.recipient)
    if not view.epoch.open:
        return reason, reason.tell(what=view.epoch.message or Reason.NOT_YET.tell(what="the first epoch"))
    for loss in losses(moment):
        return reason, reason.tell(what=loss.message)
    for member in moment.members:
        if (what := _idle(moment, moment.places[member])) is not None:
            return reason, reason.tell(what=what)
    return None


def _idle(moment: Moment, place: Place) -> str | None:
    if place.heard is None:
        return Reason.NOT_HEARD_FROM.tell(member=place.member)
    if not place.fresh:
        return Reason.HEARTBEAT_STALE.tell(member=place.member, age=moment.age(place.heard))
    trainer = place.heard.report.trainer
    trains = trainer.state == "training" and trainer.epoch == moment.view.epoch.number
    return None if trains else f"the trainer of {place.member} is {trainer.state}"


def _begun(moment: Moment, request: str) -> DrillRecord:
    """With the first pair that may; where none may, a refusal."""
    policy, turn = moment.view.policy, moment.view.drill.turn if moment.view.drill else 0
    first = f"there are no two replicas, but {policy.replicas}"
    for tried, (number, recipient, donor) in enumerate(islice(_pairs(policy, turn), TRIED_PAIRS)):
        plan = _plan(moment, moment.places[recipient], moment.places[donor])
        if isinstance(plan, DrillPlan):
            return _record(moment, request, plan).model_copy(update={"turn": number + 1})
        first = first if tried else plan[1]
    refused = _refused(moment, request, (Reason.NO_PAIR, Reason.NO_PAIR.tell(what=first)))
    return refused.model_copy(update={"turn": turn + TRIED_PAIRS})


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


def _record(moment: Moment, request: str, plan: DrillPlan) -> DrillRecord:
    reason = Reason.DRILLING
    names = {"member": plan.recipient.member, "donor": plan.donor.member, "step": plan.identity.step}
    return DrillRecord(
        name=_name(moment, request),
        request=request,
        plan=plan,
        began_at=moment.now,
        reason=reason,
        message=reason.tell(**names),
    )


def _refused(moment: Moment, request: str, why: Why) -> DrillRecord:
    return DrillRecord(
        name=_name(moment, request),
        request=request,
        turn=moment.view.drill.turn if moment.view.drill else 0,
        began_at=moment.now,
        ended_at=moment.now,
        reason=why[0],
        message=why[1][:LONGEST],
    )


def _name(moment: Moment, request: str) -> str:
    key = f"{moment.view.job}/{request}/{moment.now!r}"
    return f"drill-{sha256(key.encode()).hexdigest()[:12]}"


def _peer(moment: Moment, side: DrillSide) -> Peer | None:
    """If it is still that pod which holds the place, and it stays."""
    place = moment.places.get(side.member, Place(side.member))
    peer = None if place.pod is None or place.pod.terminating else place.peer
    return peer if peer is not None and peer.pod_uid == side.pod_uid else None


def _overdue_at(record: DrillRecord) -> float:
    return record.began_at + (record.plan.deadline if record.plan else 0) + SPARE_SECONDS


def _ended(moment: Moment, record: DrillRecord) -> DrillRecord | None:
    """The drill under way, once it is over."""
    facts = _facts(moment, record)
    why: tuple[str, str] | None = _verdict(moment, record, facts) if facts else None
    if why is None and (more := _what_matters_more(moment, record)) is not None:
        why = Reason.GAVE_WAY, Reason.GAVE_WAY.tell(what=more)
    if why is None and facts is not None and facts.state == "failed":
        why = _word(facts.reason), facts.message
    if why is None and moment.now >= _overdue_at(record):
        why = Reason.DRILL_OVERDUE, Reason.DRILL_OVERDUE.tell(deadline=moment.now - record.began_at)
    return None if why is None else _over(moment, record, why, facts)


def _facts(moment: Moment, record: DrillRecord) -> DrillFacts | None:
    """What the recipient says of this very drill."""
    heard = moment.heard.get(record.plan.recipient.pod_uid) if record.plan else None
    facts = heard.report.drill if heard else None
    return facts if facts is not None and facts.heal == record.name else None


def _what_matters_more(moment: Moment, record: DrillRecord) -> str | None:
    if (why := _hindrance(moment)) is not None:
        return why[1]
    sides = (record.plan.recipient, record.plan.donor) if record.plan else ()
    return next((Reason.POD_GONE.tell(member=side.member) for side in sides if _peer(moment, side) is None), None)


def _verdict(moment: Moment, record: DrillRecord, facts: DrillFacts) -> Why | None:
    """What arrived is what the donor holds; it should be what others hold, too, as far as they can tell."""
    if facts.state != "verified" or record.plan is None:
        return None
    recipient, donor = record.plan.recipient.member, record.plan.donor.member
    if any(held != facts.state_digest for held in _counterparts(moment, donor, facts.step)):
        return Reason.DIGEST_DISAGREES, Reason.DIGEST_DISAGREES.tell(member=donor, step=facts.step)
    return Reason.DRILL_PASSED, Reason.DRILL_PASSED.tell(member=recipient, donor=donor, step=facts.step)


def _counterparts(moment: Moment, donor: MemberId, step: int | None) -> Iterator[str]:
    """Digests of that step in other replicas; of another build they may differ without a fault."""
    giver = moment.places.get(donor, Place(donor)).report
    for member in moment.members:
        report = moment.places[member].report
        if member == donor or member.coordinate != donor.coordinate or report is None or giver is None:
            continue
        held = moment.generations(report).get(step or 0)
        if held is not None and held.state_digest is not None and report.build == giver.build:
            yield held.state_digest


def _over(moment: Moment, record: DrillRecord, why: tuple[str, str], facts: DrillFacts | None) -> DrillRecord:
    passed = why[0] == Reason.DRILL_PASSED
    crossed = facts and facts.model_copy(update={"reason": "", "message": ""})  # the record says it
    told = {"reason": str(why[0]), "message": why[1][:LONGEST]}
    return record.model_copy(update={"ended_at": moment.now, "passed": passed, "transfer": crossed} | told)


def _word(reason: str) -> str:
    """An agent's reason, if it is one word: it becomes part of a name."""
    is_word = reason.isascii() and reason.isalnum() and len(reason) <= LONGEST_WORD
    return reason if is_word else str(Reason.TRANSFER_FAILED)
