"""How did a drill end?

By what its recipient says of it, by whatever matters more than a drill, or by its deadline.
"""

from checkpointheal.contract.report import DrillFacts
from checkpointheal_operator.core.drill_hindrance import hindrance, holder
from checkpointheal_operator.core.drill_record import DrillRecord
from checkpointheal_operator.core.drill_verdict import verdict
from checkpointheal_operator.core.moment import Moment
from checkpointheal_operator.core.reasons import Reason

SPARE_SECONDS = 10.0
"""For orders and reports on their way: agents themselves let go at the deadline."""
LONGEST, LONGEST_WORD = 1024, 63
"""Characters of a message and of a reason that are kept, whoever said them."""


def ended(moment: Moment, record: DrillRecord) -> DrillRecord | None:
    """The drill under way, once it is over."""
    facts = _facts(moment, record)
    why: tuple[str, str] | None = None
    if record.plan is not None and facts is not None and facts.state == "verified":
        why = verdict(moment, record.plan, facts)
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


def _over(record: DrillRecord, now: float, why: tuple[str, str], facts: DrillFacts | None) -> DrillRecord:
    passed = why[0] == Reason.DRILL_PASSED
    crossed = facts and facts.but(reason="", message="")  # the record says it
    return record.but(ended_at=now, passed=passed, transfer=crossed, reason=str(why[0]), message=why[1][:LONGEST])


def _word(reason: str) -> str:
    """An agent's reason, if it is one word: it becomes part of a name."""
    is_word = reason.isascii() and reason.isalnum() and len(reason) <= LONGEST_WORD
    return reason if is_word else str(Reason.TRANSFER_FAILED)
