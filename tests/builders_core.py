"""Views of jobs, made from one that trains in good health by saying what is different."""

from collections.abc import Iterable
from hashlib import md5

from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.orders import Assignment, Peer
from checkpointheal.contract.report import (
    AgentReport,
    Generation,
    PrivateHeld,
    TrainerExit,
    TrainerFacts,
    TransferFacts,
)
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.decisions import BeginEpoch, Decision, Nothing, Wait
from checkpointheal_operator.core.epoch_record import EpochMember, EpochRecord
from checkpointheal_operator.core.facts import Heard, PodFacts
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.reasons import Rung
from checkpointheal_operator.core.records import advance
from checkpointheal_operator.core.view import JobView

NOW = 1000.0
BEGAN = 900.0
SCHEMA = "5" * 32
HERE = Endpoint(host="10.0.0.1", port=7000)


def m(text: str) -> MemberId:
    """A member as people write it."""
    return MemberId.parse(text)


def digest_of(coordinate: int, step: int, note: str = "") -> str:
    """What the state of one coordinate at one step digests to; with a note, what a damaged one does."""
    return md5(f"{coordinate}@{step}{note}".encode(), usedforsecurity=False).hexdigest()


def a_generation(member: MemberId, step: int, **changes: object) -> Generation:
    """A sealed and digested generation with its private part."""
    known = {
        "step": step,
        "schema_digest": SCHEMA,
        "state_digest": digest_of(member.coordinate, step),
        "bytes": 1000,
        "private": True,
        "epoch": 1,
    }
    return Generation.model_validate(known | changes)


def a_report(member: MemberId, step: int, **changes: object) -> AgentReport:
    """Of an agent whose trainer trains in epoch 1 and whose arena holds the two latest steps."""
    name = f"pod-{member.replica}-{member.rank}"
    known: dict[str, object] = {
        "job": "demo",
        "member": member,
        "pod": name,
        "pod_uid": f"u{member}",
        "agent": f"a{member}",
        "sequence": 1,
        "endpoint": HERE,
        "build": "torch",
        "trainer": TrainerFacts(state="training", incarnation=f"t{member}", request=1, epoch=1),
        "generations": (a_generation(member, step), a_generation(member, step - 1)) if step else (),
        "epoch_seen": 1,
    }
    return AgentReport.model_validate(known | changes)


def heard(report: AgentReport, when: float = NOW) -> Heard:
    """The report, with agent and trainer known since the epoch began."""
    return Heard(report=report, at=when, agent_since=BEGAN, trainer_since=BEGAN)


def a_pod(member: MemberId, **changes: object) -> PodFacts:
    """Its pod, there since before the epoch."""
    known = {"member": member, "name": f"pod-{member.replica}-{member.rank}", "uid": f"u{member}", "seen_since": 800.0}
    return PodFacts.model_validate(known | changes)


def a_job(replicas: int = 3, ranks: int = 1, step: int = 10, **policy: object) -> JobView:
    """A job that trains in epoch 1, every buddy holding what it should."""
    rules = Policy.model_validate({"replicas": replicas, "ranks": ranks} | policy)
    members = rules.members()
    view = JobView(
        job="demo",
        policy=rules,
        leader_since=700.0,
        pods=tuple(a_pod(member) for member in members),
        heard=tuple(heard(a_report(member, step)) for member in members),
        epoch=EpochRecord(
            number=1,
            open=True,
            began_at=BEGAN,
            rung=Rung.FRESH,
            reason="FirstStart",
            members=tuple(_enrolled(member) for member in members),
        ),
    )
    for member in members:
        others = [each for each in members if each != member]
        view = with_report(view, member, private_held=tuple(held_for(each, step, max(0, step - 1)) for each in others))
    return view


def a_new_job(replicas: int = 3, ranks: int = 1, **policy: object) -> JobView:
    """A job whose pods have just come and whose trainers wait for the first time."""
    view = a_job(replicas, ranks, step=0, **policy).model_copy(update={"epoch": EpochRecord()})
    for member in view.policy.members():
        view = with_report(view, member, epoch_seen=0, private_held=())
        view = with_trainer(view, member, state="waiting", epoch=0)
    return view


def held_for(member: MemberId, *steps: int) -> PrivateHeld:
    """A buddy's keep of that member's private parts."""
    return PrivateHeld(member=member, steps=steps)


def report_of(view: JobView, member: MemberId) -> AgentReport:
    """What the agent of the pod that holds the place said last."""
    report = at(view, NOW).places[member].report
    if report is None:
        raise LookupError(f"nothing was heard of {member}")
    return report


def with_report(view: JobView, member: MemberId, **changes: object) -> JobView:
    """Its agent says something else."""
    return _reheard(view, report_of(view, member).pod_uid, report=report_of(view, member).model_copy(update=changes))


def holding(view: JobView, member: MemberId | str, *held: Generation | int, **changes: object) -> JobView:
    """These lie in its arena; of a step, what all have of it, but for the changes."""
    of = m(member) if isinstance(member, str) else member
    generations = (each if isinstance(each, Generation) else a_generation(of, each, **changes) for each in held)
    return with_report(view, of, generations=tuple(generations))


def with_heard(view: JobView, member: MemberId, **changes: object) -> JobView:
    """Its agent was heard at another time."""
    return _reheard(view, report_of(view, member).pod_uid, **changes)


def with_trainer(view: JobView, member: MemberId, **changes: object) -> JobView:
    """Its trainer is something else."""
    trainer = report_of(view, member).trainer.model_copy(update=changes)
    return with_report(view, member, trainer=trainer)


def with_all_training(view: JobView) -> JobView:
    """Whoever is in the epoch trains in it."""
    for each in view.epoch.members:
        view = with_trainer(view, each.member, state="training", epoch=view.epoch.number)
    return view


def with_crash(view: JobView, member: MemberId, signal: int | None = 9, code: int | None = None) -> JobView:
    """Its trainer ended and the next one waits in the same pod."""
    trainer = report_of(view, member).trainer
    ended = TrainerExit(incarnation=trainer.incarnation or "", epoch=trainer.epoch, signal=signal, code=code)
    return with_return(view, member, exit=ended)


def with_return(view: JobView, member: MemberId, **changes: object) -> JobView:
    """The next trainer waits in the same pod."""
    trainer = report_of(view, member).trainer
    changes = {"incarnation": f"{trainer.incarnation}'", "request": trainer.request + 1, "state": "waiting"} | changes
    return with_trainer(view, member, **changes)


def with_followers(view: JobView) -> JobView:
    """Every trainer that still trains was told that its epoch is over, and the next one waits."""
    for member in view.policy.members():
        if not any(pod.member == member for pod in view.pods):
            continue
        trainer = report_of(view, member).trainer
        if trainer.state == "training":
            ended = TrainerExit(incarnation=trainer.incarnation or "", epoch=trainer.epoch, code=75, told=True)
            view = with_return(view, member, exit=ended)
    return view


def with_pod(view: JobView, member: MemberId, **changes: object) -> JobView:
    """The pod that holds the place is different."""
    uid = report_of(view, member).pod_uid
    pods = tuple(pod.model_copy(update=changes) if pod.uid == uid else pod for pod in view.pods)
    return view.model_copy(update={"pods": pods})


def without_pod(view: JobView, member: MemberId) -> JobView:
    """No pod holds the place."""
    return view.model_copy(update={"pods": tuple(pod for pod in view.pods if pod.member != member)})


def with_new_pod(view: JobView, member: MemberId) -> JobView:
    """An empty pod has taken the place; its trainer waits."""
    fresh = a_pod(member, uid=f"v{member}", name=f"new-{member.replica}-{member.rank}", seen_since=950.0)
    report = a_report(
        member,
        0,
        pod=fresh.name,
        pod_uid=fresh.uid,
        agent=f"b{member}",
        epoch_seen=0,
        trainer=TrainerFacts(state="waiting", incarnation=f"n{member}", request=1),
    )
    gone = without_pod(view, member)
    return gone.model_copy(update={"pods": (*gone.pods, fresh), "heard": (*gone.heard, heard(report))})


def with_transfer(view: JobView, assignment: Assignment, state: str, **changes: object) -> JobView:
    """The recipient says how far it got with its assignment."""
    known = {
        "heal": assignment.heal,
        "attempt": assignment.attempt,
        "state": state,
        "donor": assignment.donors[0].pod,
        "total": 1000,
    }
    facts = TransferFacts.model_validate(known | changes)
    return with_report(view, assignment.recipient.member, transfer=facts, attempt_seen=assignment.attempt)


def with_received(view: JobView, assignment: Assignment) -> JobView:
    """The recipient holds what it was assigned, verified; its private part stays where it was."""
    member = assignment.recipient.member
    view = with_transfer(view, assignment, "verified", bytes=1000)
    got = a_generation(member, assignment.step, state_digest=assignment.state_digest, private=False)
    return with_report(view, member, generations=(got,))


def with_policy(view: JobView, **changes: object) -> JobView:
    """The user wants something else."""
    return view.model_copy(update={"policy": view.policy.model_copy(update=changes)})


def ended(view: JobView, *lost: str, **changes: object) -> JobView:
    """The epoch is over, because those were lost."""
    update = {"open": False, "ended_at": NOW - 1, "lost": tuple(map(m, lost))} | changes
    return view.model_copy(update={"epoch": view.epoch.model_copy(update=update)})


def replaced(*members: str, **job: object) -> JobView:
    """Those members' pods were replaced, the epoch is over and everybody waits."""
    view = a_job(**job)
    for each in members:
        view = with_new_pod(view, m(each))
    return with_followers(ended(view, *members))


def decided(view: JobView, now: float = NOW) -> tuple[JobView, list[Decision]]:
    """Decide and write down until there is nothing to do; the last decision says why."""
    decisions: list[Decision] = []
    while len(decisions) < 64:
        decisions.append(decide(view, now))
        if isinstance(decisions[-1], Nothing | Wait):
            return view, decisions
        view = advance(view, decisions[-1], now)
    raise AssertionError(f"the core does not settle: {[str(each) for each in decisions[-4:]]}")


def begun(view: JobView) -> BeginEpoch:
    """The epoch that is begun now."""
    return next(each for each in decided(view)[1] if isinstance(each, BeginEpoch))


def words(decisions: Iterable[Decision]) -> list[str]:
    """As logs print them."""
    return [str(each) for each in decisions]


def peer_of(view: JobView, member: str) -> Peer:
    """How an order names it."""
    peer = at(view, NOW).places[m(member)].peer
    if peer is None:
        raise LookupError(f"nobody knows where {member} is")
    return peer


def _enrolled(member: MemberId) -> EpochMember:
    return EpochMember(
        member=member,
        pod_uid=f"u{member}",
        agent=f"a{member}",
        incarnation=f"t{member}",
        request=1,
        rung=Rung.FRESH,
    )


def _reheard(view: JobView, uid: str, **changes: object) -> JobView:
    each = (h.model_copy(update=changes) if h.report.pod_uid == uid else h for h in view.heard)
    return view.model_copy(update={"heard": tuple(each)})
