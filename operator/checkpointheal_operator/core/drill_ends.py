"""How did a drill end?

By what its recipient says of it, by whatever matters more than a drill, or by its deadline.
"""

from collections.abc import Iterator

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import DrillFacts
from checkpointheal_operator.core.drill_hindrance import Why, hindrance, holder
from checkpointheal_operator.core.drill_record import DrillRecord
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.reasons import Reason

SPARE_SECONDS = 10.0
"""For orders and reports on their way: agents themselves let go at the deadline."""
LONGEST, LONGEST_WORD = 1024, 63
"""Characters of a message and of a reason that are kept, whoever said them."""


def ended(moment: Moment, record: DrillRecord) -> DrillRecord | None:
    """The drill under way, once it is over."""
    facts = _facts(moment, record)
    why: tuple[str, str] | None = _verdict(moment, record, facts) if facts else None
    if why is None and (more := _what_matters_more(moment, record)) is not None:
        return gave_way(record, more, moment.now, facts)
    if why is None and facts is not None and facts.state == "failed":
        why = _word(facts.reason), facts.message
    if why is None and moment.now >= overdue_at(record):
        why = Reason.DRILL_OVERDUE, Reason.DRILL_OVERDUE.tell(deadline=moment.now - record.began_at)
    return None if why is None else _over(record, moment.now, why, facts)


def gave_way(record: DrillRecord, what: str, now: float, facts: DrillFacts | None = None) -> DrillRecord:
    """The drill under way, over for something that matters more."""
    return _over(record, now, (Reason.GAVE_WAY, Reason.GAVE_WAY.tell(what=what)), facts)


def overdue_at(record: DrillRecord) -> float:
    """When a drill has ended, whatever is said of it."""
    return record.began_at + (record.plan.deadline if record.plan else 0) + SPARE_SECONDS


def _facts(moment: Moment, record: DrillRecord) -> DrillFacts | None:
    """What the recipient says of this very drill."""
    heard = moment.heard.get(record.plan.recipient.pod_uid) if record.plan else None
    facts = heard.report.drill if heard else None
    return facts if facts is not None and facts.heal == record.name else None


def _what_matters_more(moment: Moment, record: DrillRecord) -> str | None:
    if (why := hindrance(moment)) is not None:
        return why[1]
    sides = (record.plan.recipient, record.plan.donor) if record.plan else ()
    return next((Reason.POD_GONE.tell(member=side.member) for side in sides if holder(moment, side) is None), None)


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


def _over(record: DrillRecord, now: float, why: tuple[str, str], facts: DrillFacts | None) -> DrillRecord:
    passed = why[0] == Reason.DRILL_PASSED
    crossed = facts and facts.but(reason="", message="")  # the record says it
    return record.but(ended_at=now, passed=passed, transfer=crossed, reason=str(why[0]), message=why[1][:LONGEST])


def _word(reason: str) -> str:
    """An agent's reason, if it is one word: it becomes part of a name."""
    is_word = reason.isascii() and reason.isalnum() and len(reason) <= LONGEST_WORD
    return reason if is_word else str(Reason.TRANSFER_FAILED)
