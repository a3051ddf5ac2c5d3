"""Is what a drill brought right?

By the vote that decides in a heal, among all that hold the step: where two differ, either may be the one that is wrong.
Must not know how a drill comes to its end.
"""

from collections.abc import Iterator, Mapping

from checkpointheal.contract.report import AgentReport, DrillFacts, Generation
from checkpointheal_operator.core.drill_hindrance import Why
from checkpointheal_operator.core.drill_record import DrillPlan
from checkpointheal_operator.core.moment import Moment, at
from checkpointheal_operator.core.prospects import ballots_of
from checkpointheal_operator.core.reasons import Reason


def verdict(moment: Moment, plan: DrillPlan, facts: DrillFacts) -> Why:
    """On the donor of a state that was verified. Where that is right, whose memory is not is named beside it."""
    donor, recipient, step = plan.donor, plan.recipient.member, facts.step
    refused = _refused(_with_arrived(moment, plan, facts), donor.member.coordinate, step)
    if (reason := refused.get(donor.pod_uid)) is not None:
        return reason, reason.tell(member=donor.member, step=step)
    passed = Reason.DRILL_PASSED.tell(member=recipient, donor=donor.member, step=step)
    return Reason.DRILL_PASSED, "; ".join((passed, *_wrong(moment, refused, step)))


def _refused(moment: Moment, coordinate: int, step: int | None) -> Mapping[str, Reason]:
    ballot = ballots_of(moment, coordinate).get(step) if step is not None else None
    return ballot.refused if ballot is not None else {}


def _wrong(moment: Moment, refused: Mapping[str, Reason], step: int | None) -> Iterator[str]:
    for uid, reason in refused.items():
        if reason == Reason.DIGEST_DISAGREES:
            yield reason.tell(member=moment.holding[uid].member, step=step)


def _with_arrived(moment: Moment, plan: DrillPlan, facts: DrillFacts) -> Moment:
    """What arrived is what the donor holds, though it may have overwritten it by now."""
    giver, step, digest = moment.heard.get(plan.donor.pod_uid), facts.step, facts.state_digest
    if giver is None or step is None or digest is None:
        return moment
    report = _holding(giver.report, _arrived(moment, giver.report, plan, step, digest))
    heard = giver.but(report=report)
    others = (each for each in moment.view.heard if each is not giver)
    return at(moment.view.but(heard=(*others, heard)), moment.now)


def _holding(report: AgentReport, arrived: Generation) -> AgentReport:
    others = (each for each in report.generations if each.step != arrived.step)
    return report.but(generations=(*others, arrived))


def _arrived(moment: Moment, giver: AgentReport, plan: DrillPlan, step: int, digest: str) -> Generation:
    held = moment.generations(giver).get(step)
    if held is not None:
        return held.but(state_digest=digest)
    schema, epoch = plan.identity.schema_digest, moment.view.epoch.number
    return Generation(step=step, schema_digest=schema, state_digest=digest, bytes=0, private=False, epoch=epoch)
