"""Replicas that differ by themselves are told before a loss, and nobody's memory is taken for wrong because of it."""

from collections.abc import Callable, Iterator, Sequence

import pytest

from builders_core import (
    NOW,
    SCHEMA,
    a_generation,
    a_job,
    begun,
    decided,
    digest_of,
    ended,
    holding,
    m,
    report_of,
    with_crash,
    with_followers,
    with_heard,
    with_new_pod,
    with_pod,
    with_policy,
    with_received,
    with_report,
    with_trainer,
    without_pod,
    words,
)
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import Generation, Passed
from checkpointheal_operator.core.decisions import Assign, BeginEpoch, EndEpoch, OpenHeal, Wait
from checkpointheal_operator.core.heal_record import Remembered
from checkpointheal_operator.core.hearing import remember
from checkpointheal_operator.core.reasons import Cause, Reason, Rung
from checkpointheal_operator.core.records import advance
from checkpointheal_operator.core.status import explain, job_conditions
from checkpointheal_operator.core.view import JobView
from simulation import Simulation, content

FIRST, SECOND, THIRD = m("0/0"), m("1/0"), m("2/0")
SHARED = digest_of(0, 9)


def own(member: MemberId, step: int, **changes: object) -> Generation:
    """What a member made of a step for itself alone."""
    return a_generation(member, step, **{"state_digest": digest_of(0, step, f"of {member}")} | changes)


def differing(replicas: int = 2, **policy: object) -> JobView:
    """All train, and each has its own state of every step."""
    view = a_job(replicas, **policy)
    for each in view.policy.members():
        view = holding(view, each, own(each, 10), own(each, 9))
    return view


def crashed(view: JobView) -> JobView:
    """The second one's trainer did, before its last commit, and all wait."""
    view = holding(view, SECOND, *(each for each in report_of(view, SECOND).generations if each.step < 10))
    return with_followers(with_crash(ended(view, "1/0"), SECOND))


def lost(view: JobView) -> JobView:
    """The second one's pod is gone, and a new one waits."""
    return with_followers(with_new_pod(ended(view, "1/0"), SECOND))


def causes(view: JobView) -> list[Cause]:
    return [each.cause for each in decided(view)[1] if isinstance(each, OpenHeal)]


def protected(view: JobView, now: float = NOW) -> tuple[bool, str]:
    (found,) = (each for each in job_conditions(view, now) if each.type == "Protected")
    return found.status, found.reason


def passed(step: int, digest: str, epoch: int = 1) -> Passed:
    return Passed(step=step, epoch=epoch, schema_digest=SCHEMA, state_digest=digest)


def telling(view: JobView, **digests: str) -> JobView:
    """What each member's agent has read of the epoch's first step; r0 is replica 0."""
    for name, digest in digests.items():
        view = with_report(view, m(f"{name[1:]}/0"), passed=(passed(1, digest),))
    return view


# A loss.


@pytest.mark.parametrize("replicas", [2, 3, 4])
def test_where_all_still_hold_the_step_each_goes_on_with_its_own(replicas: int):
    view = crashed(differing(replicas))
    order, members = begun(view).order, begun(view).members
    assert (order.step, order.rung) == (9, Rung.OWN_MEMORY)
    assert {each.rung for each in members} == {Rung.OWN_MEMORY}
    assert {each.trial for each in members} == {0}, "nobody is compared with peers that are known to differ"
    assert "differ by themselves" in order.message
    assert causes(view) == [Cause.CRASHED]
    assert not [each for each in decided(view)[1] if isinstance(each, Assign)]


@pytest.mark.parametrize("replicas", [2, 3])
def test_where_one_lost_its_memory_it_is_a_named_fallback_for_all(replicas: int):
    view = lost(differing(replicas))
    decision = begun(view)
    assert (decision.order.step, decision.order.rung, decision.reason) == (
        None,
        Rung.CHECKPOINT,
        Reason.REPLICAS_DIFFER,
    )
    assert "private=" in decision.message
    assert {each.rung for each in decision.members} == {Rung.CHECKPOINT}
    assert causes(view) == [Cause.REPLACED]
    assert "differ by themselves" in explain(view, NOW, SECOND).message


def test_where_they_have_other_tensors_even_their_own_memory_does_not_go_on():
    """`agree()` would refuse it again and again, as where each optimizer keeps state for its own parameters."""
    view = crashed(differing())
    view = holding(view, SECOND, own(SECOND, 9, schema_digest="6" * 32))
    assert (begun(view).order.rung, begun(view).reason) == (Rung.CHECKPOINT, Reason.REPLICAS_DIFFER)
    unread = holding(view, SECOND, own(SECOND, 9, schema_digest="6" * 32, state_digest=None))
    assert begun(telling(unread, r0="a" * 32, r1="b" * 32)).reason == Reason.REPLICAS_DIFFER, "nothing is waited for"


def test_that_the_others_differed_from_a_lost_one_is_remembered():
    view = remember(lost(differing()), NOW + 30)
    assert [each.alike for each in view.remembered] == [False]
    view = with_heard(with_heard(view, FIRST, at=NOW + 30), SECOND, at=NOW + 30)
    point = next(each for each in decided(view, NOW + 30)[1] if isinstance(each, BeginEpoch))
    assert point.reason == Reason.REPLICAS_DIFFER


def test_a_loss_of_old_says_nothing_of_those_who_train_now():
    last = own(SECOND, 10).identity
    old = Remembered(member=SECOND, pod_uid="of an earlier epoch", build="torch", identity=last, alike=False)
    view = lost(a_job(2)).model_copy(update={"remembered": (old,)})
    assert any(isinstance(each, Assign) for each in decided(view)[1])


def test_where_the_policy_holds_it_nothing_falls_back():
    *_, waits = decided(with_policy(lost(differing()), fallback="Hold"))[1]
    assert isinstance(waits, Wait)
    assert (waits.reason, "private=" in waits.message) == (Reason.HELD, True)


def test_a_reading_that_may_still_end_is_waited_for():
    view = crashed(differing())
    view = holding(view, SECOND, own(SECOND, 9, state_digest=None))
    view = telling(view, r0="a" * 32, r1="b" * 32)
    assert decided(view)[1][-1].reason == Reason.DIGEST_PENDING


def test_a_step_that_one_lacks_is_not_waited_for():
    """Reading it through would not bring it to who has none of it."""
    view = telling(crashed(differing()), r0="a" * 32, r1="b" * 32)
    view = holding(view, FIRST, own(FIRST, 10, state_digest=None), own(FIRST, 9))
    assert begun(view).order.step == 9


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(with_trainer(crashed(differing(3)), THIRD, state="done"), id="one is done, and is not waited for"),
        pytest.param(with_report(crashed(differing(3)), THIRD, build="other"), id="one is of another build"),
    ],
)
def test_each_goes_on_with_its_own_though(view: JobView):
    assert (begun(view).order.step, begun(view).order.rung) == (9, Rung.OWN_MEMORY)


def test_who_is_on_its_way_out_keeps_nothing():
    view = with_pod(crashed(differing(3)), THIRD, terminating=True)
    assert decided(view)[1][-1].reason == Reason.DRAINING
    assert "differ by themselves" in explain(view, NOW, FIRST).message


def test_only_the_coordinate_that_differs_is_left_to_itself():
    view = a_job(replicas=2, ranks=2)
    for each in (FIRST, SECOND):
        view = holding(view, each, own(each, 10), own(each, 9))
    view = with_followers(with_crash(ended(holding(view, m("1/1")), "1/1"), m("1/1")))
    assert "Assign 1/1 from 0/1 step=10 attempt=1 (StateMissing)" in words(decided(view)[1])


def test_nobody_goes_on_without_one_whose_state_nobody_else_has():
    view = with_policy(ended(differing(), "1/0"), min_replicas=1)
    view = with_trainer(without_pod(with_followers(view), SECOND), FIRST, goes_on=True)
    view = view.model_copy(update={"epoch": view.epoch.model_copy(update={"ended_at": NOW - 60})})
    assert decided(view)[1][-1].reason == Reason.MEMBER_MISSING


# Real damage, where the vote decides as ever.


DAMAGED = holding(a_job(2), SECOND, own(SECOND, 10), own(SECOND, 9))


def on_trial(view: JobView, trial: int = 1) -> JobView:
    """The first was healed with the epoch under way, so all began it with the same bytes."""
    known = tuple(
        each.model_copy(update={"trial": trial if each.member == FIRST else 0}) for each in view.epoch.members
    )
    return view.model_copy(update={"epoch": view.epoch.model_copy(update={"members": known, "step": 2})})


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(
            holding(a_job(2), SECOND, own(SECOND, 10), own(SECOND, 9, state_digest=SHARED)), id="they share a step"
        ),
        pytest.param(telling(DAMAGED, r0=SHARED, r1=SHARED), id="they shared the epoch's first step"),
        pytest.param(on_trial(DAMAGED), id="they shared the step that the epoch began with"),
        pytest.param(holding(differing(3), SECOND, own(FIRST, 10), own(FIRST, 9)), id="two of three agree"),
        pytest.param(
            holding(differing(3), SECOND, own(FIRST, 9), own(SECOND, 10)), id="two of three agree on one step"
        ),
    ],
)
def test_what_was_ever_held_alike_is_damage_once_it_differs(view: JobView):
    assert protected(view)[1] in (Reason.ALL_WELL, Reason.MEMBERS_DISAGREE)
    for harmed in (crashed(view), lost(view)):
        assert not any(Reason.REPLICAS_DIFFER in each for each in words(decided(harmed)[1]))


def test_what_a_lost_one_shared_is_remembered():
    view = telling(DAMAGED, r0=SHARED, r1=SHARED)
    view = remember(lost(view), NOW + 30)
    assert [each.alike for each in view.remembered] == [True]
    view = with_heard(with_heard(view, FIRST, at=NOW + 30), SECOND, at=NOW + 30)
    assert not any(Reason.REPLICAS_DIFFER in each for each in words(decided(view, NOW + 30)[1]))


def test_of_a_lost_one_that_cannot_be_compared_nothing_is_known():
    view = holding(a_job(2), SECOND, own(SECOND, 7))
    view = remember(lost(view), NOW + 30)
    assert [each.alike for each in view.remembered] == [None]


def test_what_was_found_of_a_lost_one_stays_though_the_others_agents_have_forgotten_it():
    """What is heard of a gone pod is heard for a while, and looked at again and again."""
    view = lost(telling(DAMAGED, r0=SHARED, r1=SHARED))
    known = remember(view, NOW + 30).remembered
    forgotten = with_report(view.model_copy(update={"remembered": known}), FIRST, passed=())
    assert remember(forgotten, NOW + 30).remembered == known
    anew = with_report(view, FIRST, passed=())
    assert [each.alike for each in remember(anew, NOW + 30).remembered] == [False], "another look would say so"


def test_what_another_pod_of_the_place_shared_says_nothing_of_the_one_that_is_lost():
    last = own(SECOND, 9).identity
    earlier = Remembered(member=SECOND, pod_uid="earlier", build="torch", identity=last, alike=True)
    view = lost(differing()).model_copy(update={"remembered": (earlier,)})
    assert [each.alike for each in remember(view, NOW + 30).remembered] == [False]


class Counted(tuple[Generation, ...]):
    """Generations that tell how often anybody went through all of them."""

    looks = 0

    def __iter__(self) -> Iterator[Generation]:
        Counted.looks += 1
        return super().__iter__()


def test_what_many_lost_ones_had_in_common_is_found_without_comparing_each_with_each():
    view = differing(16)
    for each in view.policy.members():
        view = with_report(view, each, generations=Counted(report_of(view, each).generations))
    Counted.looks = 0
    gone = remember(view.model_copy(update={"pods": ()}), NOW + 60).remembered
    assert [each.alike for each in gone] == [False] * 16
    assert Counted.looks <= 4 * 16


# Before a loss.


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(differing(2), id="two"),
        pytest.param(differing(3), id="three"),
        pytest.param(telling(a_job(2, step=0), r0="a" * 32, r1="b" * 32), id="the epoch's first step, read in time"),
        pytest.param(
            holding(holding(a_job(2), FIRST, own(FIRST, 10), own(FIRST, 9)), SECOND, own(SECOND, 9)), id="one step"
        ),
        pytest.param(
            holding(a_job(2), SECOND, a_generation(SECOND, 10, schema_digest="6" * 32)), id="they have other tensors"
        ),
    ],
)
def test_a_job_whose_replicas_differ_is_not_protected_and_says_what_helps(view: JobView):
    assert protected(view) == (False, Reason.REPLICAS_DIFFER)
    (told,) = (each for each in job_conditions(view, NOW) if each.type == "Degraded")
    assert (told.status, told.reason, "private=" in told.message) == (True, Reason.REPLICAS_DIFFER, True)
    assert words(decided(view)[1]) == ["Nothing (AllTrain)"]


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(a_job(2), id="they agree"),
        pytest.param(a_job(1), id="there is one replica"),
        pytest.param(
            holding(differing(), FIRST, own(FIRST, 10, state_digest=None), own(FIRST, 9, state_digest=None)),
            id="one has read nothing through",
        ),
        pytest.param(holding(differing(), FIRST, own(FIRST, 11), own(FIRST, 8)), id="none of their steps is the same"),
        pytest.param(holding(differing(), FIRST, own(FIRST, 10, epoch=0), own(FIRST, 9, epoch=0)), id="of two epochs"),
        pytest.param(
            holding(differing(), FIRST, own(FIRST, 10, epoch=None)), id="of an epoch that an older agent does not tell"
        ),
        pytest.param(with_report(differing(), FIRST, build="other"), id="of two builds"),
        pytest.param(a_job(2, ranks=2), id="of two coordinates"),
        pytest.param(with_policy(differing(), probation_steps=0), id="the policy compares nobody"),
    ],
)
def test_nothing_is_told_where_nothing_can_be_compared(view: JobView):
    assert protected(view) == (True, Reason.ALL_WELL)


def test_once_they_agree_it_is_told_no_more():
    view = differing()
    assert not protected(view)[0]
    for each in (FIRST, SECOND):
        view = holding(view, each, a_generation(each, 12), a_generation(each, 11))
    assert protected(view) == (True, Reason.ALL_WELL)


def test_what_was_read_of_a_step_at_different_times_is_told_no_otherwise():
    """Of a job in order one is ahead, and one has not read all: at no time does anything differ."""
    reads = [(10, 9), (10,), (9,), (11, 10), (11,)]
    for mine in reads:
        for theirs in reads:
            view = holding(a_job(2), FIRST, *(a_generation(FIRST, step) for step in mine))
            view = holding(view, SECOND, *(a_generation(SECOND, step) for step in theirs))
            assert protected(view) == (True, Reason.ALL_WELL), (mine, theirs)


def test_of_a_job_that_is_done_it_is_told_no_more():
    view = differing()
    for each in (FIRST, SECOND):
        view = with_trainer(view, each, state="done")
    assert protected(view) == (True, Reason.ALL_WELL)


# What is written down of it.


def written(view: JobView, **known: tuple[int, ...]) -> JobView:
    """As it stands in the records, whatever agents tell now."""
    return view.model_copy(update={"epoch": view.epoch.model_copy(update=known)})


def learnt(view: JobView, now: float = NOW) -> tuple[tuple[int, ...], tuple[int, ...]]:
    epoch = remember(view, now).epoch
    return epoch.alike, epoch.apart


HEARD_OF_NOTHING = telling(a_job(2, step=0))


@pytest.mark.parametrize(
    ("view", "known"),
    [
        pytest.param(a_job(2), ((0,), ()), id="they agree"),
        pytest.param(differing(), ((), (0,)), id="they differ"),
        pytest.param(HEARD_OF_NOTHING, ((), ()), id="nothing can be compared"),
        pytest.param(holding(a_job(2, ranks=2), FIRST, own(FIRST, 10)), ((1,), (0,)), id="each coordinate for itself"),
        pytest.param(written(differing(), alike=(0,)), ((0,), ()), id="who was alike once is so for good"),
        pytest.param(written(HEARD_OF_NOTHING, apart=(0,)), ((), (0,)), id="agents have forgotten that they differ"),
        pytest.param(written(a_job(2), apart=(0,)), ((0,), ()), id="who differed agrees now"),
        pytest.param(written(a_job(1), apart=()), ((), ()), id="there is one replica"),
        pytest.param(with_policy(differing(), probation_steps=0), ((), ()), id="the policy compares nobody"),
        pytest.param(
            with_report(with_report(a_job(2), FIRST, generations=(a_generation(FIRST, 10, epoch=0),)), SECOND),
            ((), ()),
            id="what is of an earlier epoch",
        ),
    ],
)
def test_it_is_written_down_as_soon_as_it_is_known(view: JobView, known: tuple[tuple[int, ...], tuple[int, ...]]):
    assert learnt(view) == known


def test_bytes_that_a_peer_gave_after_the_end_make_nobody_alike():
    assert learnt(lost(a_job(2))) == ((), ())
    assert learnt(lost(differing())) == ((), (0,))


@pytest.mark.parametrize(
    "view", [pytest.param(DAMAGED, id="they differ by now"), pytest.param(differing(), id="they differ in all steps")]
)
def test_who_was_alike_by_the_records_is_damaged_whatever_agents_have_forgotten(view: JobView):
    view = written(view, alike=(0,))
    assert protected(view)[1] in (Reason.ALL_WELL, Reason.MEMBERS_DISAGREE)
    for harmed in (crashed(view), lost(view)):
        assert not any(Reason.REPLICAS_DIFFER in each for each in words(decided(harmed)[1]))


def test_who_differs_by_the_records_is_given_nothing_though_this_leader_has_heard_of_no_difference():
    view = lost(written(a_job(2), apart=(0,)))
    assert any(isinstance(each, Assign) for each in decided(lost(a_job(2)))[1])
    view = view.model_copy(update={"heard": tuple(each for each in view.heard if each.report.pod_uid != "u1/0")})
    assert (begun(view).reason, begun(view).order.rung) == (Reason.REPLICAS_DIFFER, Rung.CHECKPOINT)


@pytest.mark.parametrize(
    ("view", "known"),
    [
        pytest.param(crashed(a_job(2)), ((0,), ()), id="one is given a peer's bytes"),
        pytest.param(crashed(differing()), ((), (0,)), id="each goes on with its own"),
        pytest.param(lost(differing()), ((), ()), id="all begin at the checkpoint"),
    ],
)
def test_an_epoch_begins_with_what_is_known_of_its_members(
    view: JobView, known: tuple[tuple[int, ...], tuple[int, ...]]
):
    after, made = decided(view)
    for each in made:
        if isinstance(each, Assign):
            after = decided(with_received(after, each.assignment))[0]
    assert (after.epoch.number, (after.epoch.alike, after.epoch.apart)) == (2, known)


def test_what_was_known_before_records_were_lost_is_known_of_the_epoch_that_is_closed_for_it():
    view = written(with_followers(with_crash(a_job(2), SECOND)), alike=(0,), number=0, open=False)
    (closed, *_) = decided(view)[1]
    assert isinstance(closed, EndEpoch)
    assert advance(view, closed, NOW).epoch.alike == (0,)


# A whole job.


class Apart(Simulation):
    """Each replica has a state of its own, and must never be given another's."""

    def __init__(self, replicas: int) -> None:
        super().__init__(replicas)
        self.apart = True

    def check_words(self, member: MemberId, step: int, words: str | None) -> None:
        assert words == f"{member}'s own {content(member.coordinate, step)}", f"{member} was given {words!r}"


def harmed(replicas: int, harm: Callable[[Apart], None]) -> Apart:
    job = Apart(replicas)
    job.go_on()
    job.train_to(6)
    harm(job)
    job.go_on()
    return job


def rungs(job: Apart) -> Sequence[str]:
    return [f"{each.order.rung} {each.order.step}" for each in job.decisions if isinstance(each, BeginEpoch)]


@pytest.mark.parametrize("replicas", [2, 3])
def test_every_trainer_comes_back_with_its_own_state_again_and_again(replicas: int):
    job = harmed(replicas, lambda job: job.kill_trainer(SECOND))
    job.train_to(9)
    job.lose_before_commit(SECOND)
    job.go_on()
    assert rungs(job) == ["Fresh None", "OwnMemory 6", "OwnMemory 9"]
    assert all(each.sound is None for each in job.decisions if isinstance(each, EndEpoch))
    assert not [each for each in job.decisions if isinstance(each, Assign)]
    job.train_to(12)


@pytest.mark.parametrize("replicas", [2, 3])
def test_a_pod_that_is_gone_costs_a_named_fallback_and_nobody_is_overwritten(replicas: int):
    job = harmed(replicas, lambda job: job.replace_pod(SECOND))
    assert rungs(job) == ["Fresh None", "Checkpoint None"]
    assert job.view.epoch.reason == Reason.REPLICAS_DIFFER
    assert not [each for each in job.decisions if isinstance(each, Assign)]


def test_it_is_known_before_a_loss_and_stays_so_while_nobody_has_read_a_step():
    job = Apart(2)
    job.go_on()
    job.train_to(6)
    assert protected(job.view, job.now) == (False, Reason.REPLICAS_DIFFER)
    for member in job.pods:
        job.train(member)
        job.train(member)
        job.report(member)
    assert protected(job.view, job.now) == (False, Reason.REPLICAS_DIFFER)


def test_a_leader_that_has_heard_of_no_difference_does_not_give_a_lost_one_anothers_state():
    def lose_both(job: Apart) -> None:
        job.replace_pod(SECOND)
        job.restart_operator()

    job = harmed(2, lose_both)
    assert rungs(job) == ["Fresh None", "Checkpoint None"]
    assert job.view.epoch.reason == Reason.REPLICAS_DIFFER


def forget_nothing(job: Simulation) -> None:
    """Only a bit flips."""


def forget_in_the_agent(job: Simulation) -> None:
    job.kill_agent(SECOND)
    job.go_on()


def forget_the_records(job: Simulation) -> None:
    job.restart_operator(with_records=False)
    job.go_on()


@pytest.mark.parametrize("forget", [forget_nothing, forget_in_the_agent, forget_the_records])
def test_a_bit_that_flips_long_after_the_first_step_is_damage_whoever_has_forgotten_that_step(
    forget: Callable[[Simulation], None],
):
    job = Simulation(2)
    job.go_on()
    job.train_to(12)
    forget(job)
    job.train_to(14)
    job.go_wrong(SECOND)
    job.train_to(18)
    assert protected(job.view, job.now)[1] in (Reason.ALL_WELL, Reason.MEMBERS_DISAGREE)
    job.kill_trainer(SECOND)
    job.go_on()
    assert (job.view.epoch.rung, job.view.epoch.reason) == (Rung.CHECKPOINT, Reason.NO_ELIGIBLE_DONOR)
