"""For any view that validates, the core answers, explains itself and comes to rest, in whatever order its facts lie."""

import random

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from builders_core import (
    BEGAN,
    NOW,
    SCHEMA,
    a_generation,
    a_pod,
    a_report,
    decided,
    digest_of,
    held_for,
    m,
    replaced,
    with_policy,
    with_report,
    words,
)
from checkpointheal.contract.base import MOST
from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.orders import Assignment, Peer
from checkpointheal.contract.report import Passed, TrainerExit, TrainerFacts, TransferFacts
from checkpointheal.contract.signals import Signals
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.decisions import Assign, BeginEpoch
from checkpointheal_operator.core.drill_record import DrillPlan, DrillRecord, DrillSide
from checkpointheal_operator.core.drills import next_drill
from checkpointheal_operator.core.epoch_record import EpochMember, EpochRecord
from checkpointheal_operator.core.facts import Heard
from checkpointheal_operator.core.heal_record import HealRecord, Remembered
from checkpointheal_operator.core.hearing import remember
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.orders import orders
from checkpointheal_operator.core.plan import heal_name
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.reasons import Cause, Reason, Rung
from checkpointheal_operator.core.status import explain, heal_conditions, job_conditions
from checkpointheal_operator.core.view import JobView

MEMBERS = [MemberId(replica=r, rank=k) for r in range(3) for k in range(2)]
members = st.sampled_from(MEMBERS)
uids = st.sampled_from(["p", "q", "r", "s", "t"])
lives = st.sampled_from(["t1", "t2"])
times = st.sampled_from([0.0, BEGAN, NOW - 100, NOW - 7, NOW - 1, NOW, NOW + 3])
numbers = st.integers(0, 3)
steps = st.integers(0, 4)
peers = st.builds(Peer, member=members, pod=uids, pod_uid=uids, endpoint=st.just(Endpoint(host="h", port=1)))
assignments = st.builds(
    Assignment,
    heal=st.sampled_from(["h", "g"]),
    attempt=st.integers(1, 9),
    recipient=peers,
    donors=st.lists(peers, min_size=1, max_size=2).map(tuple),
    step=steps,
    schema_digest=st.just(SCHEMA),
    state_digest=st.sampled_from([digest_of(0, 2), digest_of(1, 3)]),
    deadline=st.sampled_from([0.0, 30.0]),
)
exits = st.builds(
    TrainerExit,
    incarnation=lives,
    epoch=numbers,
    code=st.sampled_from([None, 0, 1, 75]),
    signal=st.sampled_from([None, 9]),
    told=st.booleans(),
)
trainers = st.builds(
    TrainerFacts,
    state=st.sampled_from(["absent", "starting", "waiting", "waiting", "waiting", "training", "stopped", "done"]),
    incarnation=st.none() | lives,
    request=numbers,
    epoch=numbers,
    exit=st.none() | exits,
)
signals = st.builds(
    Signals,
    loss=st.sampled_from([None, 1.0, 99.0]),
    not_finite=st.sampled_from([(), ("loss",), ("grad_norm",)]),
)
transfers = st.builds(
    TransferFacts,
    heal=st.sampled_from(["h", "g"]),
    attempt=st.integers(1, 9),
    state=st.sampled_from(["asking", "receiving", "verified", "failed"]),
    donor=st.none() | uids,
)


@st.composite
def passed(draw: st.DrawFn) -> Passed:
    digests = {"schema_digest": SCHEMA, "state_digest": draw(st.sampled_from([digest_of(0, 2), "e" * 32]))}
    return Passed(step=draw(steps), epoch=draw(numbers), signals=draw(st.none() | signals), **digests)


@st.composite
def heard(draw: st.DrawFn) -> Heard:
    member = draw(members)
    generations = tuple(
        a_generation(
            member,
            step,
            state_digest=draw(st.none() | st.just(digest_of(member.rank, step)) | st.just("e" * 32)),
            private=draw(st.booleans()),
            epoch=draw(st.none() | numbers),
            bytes=draw(st.sampled_from([1000, MOST])),
        )
        for step in draw(st.lists(steps, max_size=3))
    )
    report = a_report(
        member,
        0,
        pod_uid=draw(uids),
        agent=draw(st.sampled_from(["a", "b"])),
        trainer=draw(trainers),
        generations=generations,
        passed=tuple(draw(st.lists(passed(), max_size=3))),
        private_held=tuple(
            held_for(each, *draw(st.lists(steps, max_size=3))) for each in draw(st.lists(members, max_size=4))
        ),
        private_own=tuple(draw(st.lists(steps, max_size=3))),
        behind=draw(st.booleans()),
        transfer=draw(st.none() | transfers),
        attempt_seen=draw(numbers),
        epoch_seen=draw(numbers),
        answered=draw(st.sampled_from([None, "", "h/0", "g/1"])),
    )
    return Heard(report=report, at=draw(times), agent_since=draw(times), trainer_since=draw(times))


@st.composite
def heals(draw: st.DrawFn, reports: list[Heard]) -> HealRecord:
    report = draw(st.sampled_from(reports)).report if reports else a_report(MEMBERS[0], 0)
    return HealRecord(
        name=draw(st.sampled_from(["h", "g", heal_name(report)])),
        recipient=draw(members),
        pod_uid=report.pod_uid,
        agent=report.agent,
        request=report.trainer.request,
        incarnation=draw(lives),
        cause=draw(st.sampled_from(Cause)),
        crash_step=draw(st.none() | steps),
        noticed_at=0,
        opened_at=0,
        tries=draw(numbers),
        assignment=draw(st.none() | assignments),
        assigned_at=draw(st.none() | times),
        failed=tuple(draw(st.lists(uids, max_size=7))),
        epoch=draw(st.none() | numbers),
        concluded_at=draw(st.none() | times),
        healed=draw(st.booleans()),
    )


@st.composite
def epochs(draw: st.DrawFn) -> EpochRecord:
    def enrolled(member: MemberId) -> EpochMember:
        return EpochMember(
            member=member,
            pod_uid=draw(uids),
            agent="a",
            incarnation=draw(lives),
            request=draw(numbers),
            rung=Rung.PEER,
            private_from=tuple(draw(st.lists(uids, max_size=2))),
            private_begins=draw(st.booleans()),
            private_step=draw(st.none() | steps),
            trial=draw(st.integers(0, 2)),
        )

    return EpochRecord(
        number=draw(numbers),
        open=draw(st.booleans()),
        began_at=draw(st.none() | times),
        ended_at=draw(st.none() | times),
        step=draw(st.none() | steps),
        rung=draw(st.none() | st.sampled_from(Rung)),
        members=tuple(enrolled(member) for member in draw(st.lists(members, unique=True, max_size=6))),
        lost=tuple(draw(st.lists(members, max_size=2))),
        sound=draw(st.none() | steps),
        restarts=tuple(draw(st.lists(lives, max_size=1))),
    )


@st.composite
def views(draw: st.DrawFn) -> JobView:
    reports = draw(st.lists(heard(), max_size=5, unique_by=lambda each: each.report.pod_uid))
    pods = [
        a_pod(
            draw(members),
            uid=uid,
            terminating=draw(st.booleans()) and draw(st.booleans()),
            finished=draw(st.booleans()) and draw(st.booleans()),
            seen_since=draw(times),
        )
        for uid in draw(st.lists(uids, unique=True, max_size=5))
    ]
    identity = st.builds(Identity, step=steps, schema_digest=st.just(SCHEMA), state_digest=st.just(digest_of(0, 2)))
    witnesses = st.builds(Remembered, member=members, pod_uid=uids, build=st.just("torch"), identity=identity)
    return JobView(
        job="demo",
        policy=Policy(
            replicas=draw(st.integers(1, 3)),
            ranks=draw(st.integers(1, 2)),
            donor_limit=1,
            transfer_floor_bytes_per_second=draw(st.sampled_from([1, 50_000_000])),
            fallback=draw(st.sampled_from(["Checkpoint", "Hold"])),
            private_behind=draw(st.sampled_from(["Refuse", "Allow"])),
        ),
        leader_since=draw(times),
        pods=tuple(pods),
        heard=tuple(reports),
        epoch=draw(epochs()),
        heals=tuple(draw(st.lists(heals(reports), max_size=3, unique_by=lambda each: each.name))),
        remembered=tuple(draw(st.lists(witnesses, max_size=2))),
    )


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(views(), st.randoms(use_true_random=False))
def test_any_view_is_decided_explained_and_comes_to_rest_whatever_the_order(view: JobView, dice: random.Random) -> None:
    after, made = decided(view)
    assert all(each.message for each in made)
    names = ("pods", "heard", "heals", "remembered")
    mixed = view.model_copy(
        update={name: tuple(dice.sample(getattr(view, name), len(getattr(view, name)))) for name in names}
    )
    assert words(decided(mixed)[1]) == words(made)
    assert orders(after).keys() == set(view.policy.members())
    assert len(job_conditions(after, NOW)) == 4
    assert all(len(heal_conditions(after, heal)) == 4 for heal in after.heals)
    assert all(explain(after, NOW, member).lines() for member in at(after, NOW).places)
    assert {pod.uid for pod in remember(view, NOW).pods} == {pod.uid for pod in view.pods}


@settings(deadline=None)
@given(floor=st.integers(1, MOST), size=st.integers(0, MOST), cap=st.none() | st.integers(1, MOST))
@example(floor=1, size=MOST, cap=1)
def test_whatever_a_state_weighs_and_however_slowly_it_may_cross_it_is_given(
    floor: int, size: int, cap: int | None
) -> None:
    view = with_policy(replaced("1/0"), transfer_floor_bytes_per_second=floor, bytes_per_second=cap)
    for member in view.policy.members():
        if member != m("1/0"):
            view = with_report(view, member, generations=(a_generation(member, 10, bytes=size),))
    after, made = decided(view)
    assert any(isinstance(each, Assign) for each in made)
    assert orders(after)[m("1/0")].assignment == after.heals[0].assignment


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(views())
def test_a_job_is_held_exactly_where_it_would_have_gone_back_to_the_checkpoint(view: JobView) -> None:
    free, held = (decided(with_policy(view, fallback=which))[1] for which in ("Checkpoint", "Hold"))
    fell = next(
        (n for n, each in enumerate(free) if isinstance(each, BeginEpoch) and each.order.rung == "Checkpoint"), None
    )
    assert not any(isinstance(each, BeginEpoch) and each.order.rung == Rung.CHECKPOINT for each in held)
    if fell is None:
        assert held == free or held[-1].reason == Reason.HELD
    else:
        assert held[:fell] == free[:fell]
        assert held[-1].reason == Reason.HELD or any(isinstance(each, Assign) for each in held[fell:])


drills = st.builds(
    DrillRecord,
    name=st.just("drill-1"),
    request=st.sampled_from(["", "one"]),
    turn=st.integers(0, 9),
    plan=st.none()
    | st.builds(
        lambda taker, giver, uid: DrillPlan(
            recipient=DrillSide(member=taker, pod="p", pod_uid=uid),
            donor=DrillSide(member=giver, pod="q", pod_uid="q"),
            identity=a_generation(MEMBERS[0], 3).identity,
            channel="tls",
            deadline=30,
        ),
        members,
        members,
        uids,
    ),
    began_at=st.sampled_from([NOW - 100, NOW]),
    ended_at=st.none() | st.just(NOW),
    reason=st.just("Drilling"),
    message=st.just(""),
)


@given(view=views(), drill=drills, asked=st.sampled_from(["", "one", "two"]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_drill_changes_no_decision_and_no_other_order(view: JobView, drill: DrillRecord, asked: str):
    with_drill = view.model_copy(update={"drill": drill, "drill_asked": asked})
    decision = decide(view, NOW)
    assert decide(with_drill, NOW) == decision
    plain, drilled = orders(view, decision), orders(with_drill, decision)
    for member, order in drilled.items():
        unsaid = {"drill": None, "revision": plain[member].revision}
        assert order.model_copy(update=unsaid) == plain[member]
        if order.drill is not None:
            assert (order.assignment, order.grants) == (None, ())
    record = next_drill(with_drill, NOW)
    if record is not None:
        settled = with_drill.model_copy(update={"drill": record})
        assert decide(settled, NOW) == decision
