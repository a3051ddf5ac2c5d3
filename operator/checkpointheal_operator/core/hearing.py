"""What a new report changes in what is known, and what stays known of a pod that is gone.

Order does not matter: a late, older report changes nothing. Must not know the gateway.
"""

from checkpointheal.contract.report import AgentReport
from checkpointheal_operator.core.alike import Others
from checkpointheal_operator.core.facts import Heard
from checkpointheal_operator.core.heal_record import Remembered
from checkpointheal_operator.core.likeness import by_coordinate, learnt
from checkpointheal_operator.core.place import has_finished
from checkpointheal_operator.core.view import JobView

HEARTBEAT = 4.0
"""Seconds in which an agent that lives is heard, whether or not it has news."""


def hear(previous: Heard | None, report: AgentReport, at: float) -> Heard:
    """Take `report` in place of the pod's `previous` one, unless it is older.

    Of two starts of one agent the later one is believed: the last word of an agent that ended may come after the first
    of the next. The clock that tells may have been set back, so a start that goes on speaking where the other one has
    fallen silent is believed, too; and where either does not tell, the one that speaks last.
    """
    if previous is None:
        return _first_word(report, at)
    if previous.report.agent != report.agent:
        is_late = _began_before(report, previous.report) and at < previous.at + HEARTBEAT
        return previous if is_late else _first_word(report, at)
    if report.sequence < previous.report.sequence:
        return previous
    before, after = previous.report.trainer, report.trainer
    same = (before.state, before.incarnation, before.epoch) == (after.state, after.incarnation, after.epoch)
    since = previous.trainer_since if same else at
    return previous.but(report=report, at=at, trainer_since=since)


def _first_word(report: AgentReport, at: float) -> Heard:
    return Heard(report=report, at=at, agent_since=at, trainer_since=at)


def _began_before(report: AgentReport, other: AgentReport) -> bool:
    return report.started is not None and other.started is not None and report.started < other.started


def is_news(before: Heard | None, after: Heard) -> bool:
    """Whether a report says anything that the one `before` it did not, but that its agent lives.

    Of an agent that was silent for a while that is news too: somebody may wait for it.
    """
    if before is None or after.at >= before.at + HEARTBEAT:
        return True
    return _said(after) != _said(before)


def _said(heard: Heard) -> dict[str, object]:
    """All but the number of the report. Asked for every report of every agent, so nothing is copied for it."""
    return {name: said for name, said in heard.report if name != "sequence"}


def remember(view: JobView, now: float) -> JobView:
    """Let go of silent pods that are gone; keep each place's last identity, which may decide a vote.

    And what all agents tell of who was ever alike: that stands in the records before any of them is lost.

    A member of the latest epoch that was done stays known: nobody waits for it, pod or no pod.
    """
    there, latest = {pod.uid for pod in view.pods}, {each.pod_uid for each in view.epoch.members}
    kept: list[Heard] = []
    gone: list[tuple[AgentReport, Remembered]] = []
    lost = {each.member: each for each in view.remembered}
    for heard in sorted(view.heard, key=lambda h: (h.at, h.report.pod_uid)):
        silent, finished = now >= heard.at + view.policy.agent_silence, has_finished(heard.report.trainer)
        if heard.report.pod_uid in (there | latest if finished else there) or not silent:
            kept.append(heard)
        elif not finished and (last := last_identity(heard.report)) is not None:
            gone.append((heard.report, last))
    others = {each: Others(reports) for each, reports in by_coordinate(view).items()} if gone else {}
    for report, last in gone:
        lost[report.member] = _remembered(report, last, lost.get(report.member), others[report.member.coordinate])
    remembered = tuple(lost[member] for member in sorted(lost))
    return view.but(heard=tuple(kept), remembered=remembered, epoch=learnt(view))


def _remembered(report: AgentReport, last: Remembered, before: Remembered | None, others: Others) -> Remembered:
    """What is known of that pod already stays: the others' agents may have forgotten what they had read."""
    known = before.alike if before is not None and before.pod_uid == last.pod_uid else None
    return last.but(alike=known if known is not None else others.like(report))


def last_identity(report: AgentReport) -> Remembered | None:
    """The newest digested generation of a pod, as a witness."""
    digested = [each for each in report.generations if each.state_digest is not None]
    last = max(digested, key=lambda g: (g.step, g.epoch or 0), default=None)
    identity = last.identity if last else None
    if identity is None:
        return None
    return Remembered(member=report.member, pod_uid=report.pod_uid, build=report.build, identity=identity)
