"""Who was healed trains as its peers do, or goes back with the whole job: over every way in which it may differ."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders_core import (
    NOW,
    SCHEMA,
    a_generation,
    a_job,
    begun,
    decided,
    digest_of,
    m,
    replaced,
    report_of,
    with_crash,
    with_followers,
    with_new_pod,
    with_policy,
    with_received,
    with_report,
    with_trainer,
    without_pod,
    words,
)
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import Passed
from checkpointheal.contract.signals import Signals
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.decisions import Assign, BeginEpoch, EndEpoch
from checkpointheal_operator.core.epoch_record import EpochMember
from checkpointheal_operator.core.moment import at
from checkpointheal_operator.core.orders import FIRST_STEPS, orders
from checkpointheal_operator.core.probation import FACTOR, failures
from checkpointheal_operator.core.reasons import Reason, Rung
from checkpointheal_operator.core.records import advance
from checkpointheal_operator.core.status import job_conditions
from checkpointheal_operator.core.view import JobView
from simulation import Simulation

HEALED = m("0/0")
BEGAN_AT = 8
GOOD, BAD, OTHER = "good", "bad", "other"
FINE = Signals(loss=2.0, grad_norm=1.0)
NO_LOSS = Signals(grad_norm=1.0, not_finite=("loss",))
OVERFLOWN = Signals(loss=2.0, not_finite=("grad_norm",))


def passed(step: int, note: str | None = GOOD, signals: Signals | None = None, **changes: object) -> Passed:
    """A step in epoch 1; without a note it was not read through."""
    digests = {} if note is None else {"schema_digest": SCHEMA, "state_digest": digest_of(0, step, note)}
    return Passed.model_validate({"step": step, "epoch": 1, "signals": signals} | digests | changes)


def on_trial(view: JobView, trial: int = 1, *members: str) -> JobView:
    """Those were healed with the epoch that is under way, at BEGAN_AT; else the first."""
    chosen = set(map(m, members)) or {HEALED}

    def tried(known: EpochMember) -> EpochMember:
        return known.model_copy(update={"trial": trial if known.member in chosen else 0})

    known = tuple(map(tried, view.epoch.members))
    update = {"step": BEGAN_AT, "rung": Rung.PEER, "members": known}
    return view.model_copy(update={"epoch": view.epoch.model_copy(update=update)})


def telling(view: JobView, **told: list[Passed]) -> JobView:
    """What each member's agent tells of its first steps; r0 is replica 0."""
    for name, steps in told.items():
        view = with_report(view, m(f"{name[1:]}/0"), passed=tuple(steps))
    return view


def a_trial(*notes: str | None, trial: int = 1, **policy: object) -> JobView:
    """A job whose first member was healed; each member tells of the step after, as noted."""
    view = on_trial(a_job(replicas=len(notes), step=BEGAN_AT + 1, **policy), trial)
    told = {f"r{replica}": [passed(BEGAN_AT + 1, note)] for replica, note in enumerate(notes)}
    return telling(view, **told)


def why_failed(view: JobView) -> dict[str, str]:
    return {str(each.member): each.message for each in failures(at(view, NOW))}


def should_fail(own: str | None, *others: str | None) -> bool:
    """Of one that was healed among others that were not, by how many hold what."""
    counts = Counter(note for note in (own, *others) if note is not None)
    largest = [note for note, count in counts.items() if count == max(counts.values())]
    if own is None or largest == [own]:
        return False
    return len(largest) == 1 or (own not in others and len(counts) == 2)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_healed_one_fails_where_most_or_all_of_its_peers_hold_other_bytes(size: int) -> None:
    for notes in itertools.product((GOOD, BAD, OTHER, None), repeat=size):
        assert bool(why_failed(a_trial(*notes))) is should_fail(*notes), notes


@pytest.mark.parametrize(
    ("notes", "what"),
    [
        pytest.param((BAD, GOOD, GOOD), "at step 9 it holds other bytes than most of its peers", id="a minority"),
        pytest.param((BAD, GOOD), "the suspect is who was healed", id="one against one"),
    ],
)
def test_it_says_why(notes: tuple[str, ...], what: str) -> None:
    assert what in why_failed(a_trial(*notes))["0/0"]


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(on_trial(a_job(replicas=2)), id="nobody tells of a step"),
        pytest.param(a_trial(BAD, GOOD, trial=0), id="nobody was healed"),
        pytest.param(a_trial(BAD, GOOD, probation_steps=0), id="probation is off"),
        pytest.param(with_trainer(a_trial(BAD, GOOD), HEALED, state="done"), id="it is done"),
        pytest.param(without_pod(a_trial(BAD, GOOD), m("1/0")), id="its peer is gone"),
        pytest.param(with_report(a_trial(BAD, GOOD), m("1/0"), build="other"), id="its peer is of another build"),
        pytest.param(
            telling(a_trial(BAD, GOOD), r0=[passed(9, BAD, epoch=0)]), id="it tells of a step of an earlier epoch"
        ),
        pytest.param(telling(a_trial(BAD, GOOD), r0=[passed(7, BAD)]), id="nobody tells of that step besides"),
        pytest.param(
            telling(a_trial(BAD, GOOD), r1=[passed(9, GOOD, schema_digest="6" * 32)]), id="its peer has another schema"
        ),
        pytest.param(
            telling(a_trial(BAD, GOOD, probation_steps=1), r0=[passed(8, None), passed(9, BAD)]),
            id="it is past its probation",
        ),
    ],
)
def test_nothing_is_found(view: JobView) -> None:
    assert why_failed(view) == {}


def test_one_of_another_build_may_hold_what_it_likes_and_saves_nobody() -> None:
    view = with_report(a_trial(BAD, GOOD, OTHER), m("2/0"), build="other")
    assert "the suspect is who was healed" in why_failed(view)["0/0"]


def test_where_the_peers_that_were_not_healed_differ_too_nothing_is_known():
    assert why_failed(a_trial(BAD, GOOD, OTHER)) == {}


def test_two_that_were_healed_and_differ_are_both_suspects():
    view = on_trial(a_trial(BAD, GOOD), 1, "0/0", "1/0")
    assert set(why_failed(view)) == {"0/0", "1/0"}


def test_who_was_healed_and_agrees_with_one_that_was_not_is_no_suspect():
    view = on_trial(a_trial(GOOD, GOOD, BAD, BAD), 1, "0/0", "2/0", "3/0")
    assert set(why_failed(view)) == {"2/0", "3/0"}


def test_an_older_agent_is_a_witness_by_what_it_holds():
    view = telling(a_trial(BAD, GOOD), r1=[])
    assert why_failed(view).keys() == {"0/0"}


def test_an_older_agent_is_not_on_probation():
    view = telling(a_trial(BAD, GOOD), r0=[])
    wrong = a_generation(HEALED, 9, state_digest=digest_of(0, 9, BAD))
    assert why_failed(with_report(view, HEALED, generations=(wrong,))) == {}


@pytest.mark.parametrize(
    ("own", "peer", "fails"),
    [
        pytest.param(NO_LOSS, FINE, True, id="the loss of the healed one alone"),
        pytest.param(OVERFLOWN, FINE, True, id="the gradient of the healed one alone"),
        pytest.param(NO_LOSS, OVERFLOWN, False, id="an overflow that all see"),
        pytest.param(NO_LOSS, None, False, id="the peer tells nothing"),
        pytest.param(NO_LOSS, Signals(grad_norm=1.0), False, id="the peer tells another number"),
        pytest.param(FINE, OVERFLOWN, False, id="the peer's alone"),
        pytest.param(None, FINE, False, id="the healed one tells nothing"),
        pytest.param(FINE, FINE, False, id="all is finite"),
    ],
)
def test_a_number_that_is_finite_everywhere_else(own: Signals | None, peer: Signals | None, fails: bool) -> None:
    view = telling(a_trial(None, None), r0=[passed(9, None, own)], r1=[passed(9, None, peer)])
    assert bool(why_failed(view)) is fails


def test_another_that_was_healed_is_no_witness_of_what_is_finite():
    view = on_trial(a_trial(None, None), 1, "0/0", "1/0")
    view = telling(view, r0=[passed(9, None, NO_LOSS)], r1=[passed(9, None, FINE)])
    assert why_failed(view) == {}


@given(
    own=st.lists(st.sampled_from([GOOD, BAD, None]), max_size=6),
    peer=st.lists(st.sampled_from([GOOD, None]), min_size=6, max_size=6),
    count=st.integers(0, 6),
)
def test_the_sound_step_is_the_last_that_was_shared_before_the_first_that_was_not(
    own: list[str | None], peer: list[str | None], count: int
) -> None:
    view = on_trial(a_job(replicas=2, step=BEGAN_AT, probation_steps=count))
    steps = range(BEGAN_AT + 1, BEGAN_AT + 7)
    view = telling(
        view,
        r0=[passed(step, note) for step, note in zip(steps, own, strict=False)],
        r1=[passed(step, note) for step, note in zip(steps, peer, strict=True)],
    )
    both = [(step, mine) for step, mine, theirs in zip(steps, own[:count], peer, strict=False) if mine and theirs]
    wrong = next((step for step, mine in both if mine == BAD), None)
    if wrong is None:
        assert failures(at(view, NOW)) == ()
    else:
        (failure,) = failures(at(view, NOW))
        assert failure.sound == max((step for step, _ in both if step < wrong), default=BEGAN_AT)


def test_its_epoch_ends_by_name_and_for_it_alone():
    decision = decide(a_trial(BAD, GOOD, GOOD), NOW)
    assert isinstance(decision, EndEpoch)
    assert (decision.reason, decision.lost, decision.sound) == (Reason.PROBATION_FAILED, (HEALED,), BEGAN_AT)


def over(view: JobView) -> JobView:
    """The epoch was ended, and everybody waits."""
    return with_followers(advance(view, decide(view, NOW), NOW))


def held(view: JobView, *steps: int) -> JobView:
    """Every arena holds these."""
    for member in view.policy.members():
        view = with_report(view, member, generations=tuple(a_generation(member, step) for step in steps))
    return view


def test_no_step_that_came_after_the_sound_one_is_restored():
    order = begun(held(over(a_trial(BAD, GOOD, GOOD)), 8, 9)).order
    assert (order.step, order.rung) == (BEGAN_AT, Rung.OWN_MEMORY)


def test_where_no_memory_holds_the_sound_step_any_more_it_is_the_checkpoint_by_name():
    order = begun(held(over(a_trial(BAD, GOOD, GOOD)), 9, 10)).order
    assert (order.step, order.rung, order.reason) == (None, Rung.CHECKPOINT, Reason.NO_SOUND_STEP)


def test_who_fails_its_last_probation_leaves_the_job_to_the_checkpoint():
    order = begun(held(over(a_trial(BAD, GOOD, GOOD, trial=2)), 8, 9)).order
    assert (order.step, order.rung, order.reason) == (None, Rung.CHECKPOINT, Reason.PROBATION_EXHAUSTED)


def test_where_the_policy_holds_it_the_job_waits_until_that_pod_is_another():
    view = with_policy(held(over(a_trial(BAD, GOOD, GOOD, trial=2)), 8, 9), fallback="Hold")
    *_, waits = decided(view)[1]
    assert (waits.reason, "delete the pod of that member" in waits.message) == (Reason.HELD, True)
    assert "Assign 0/0 from 1/0,2/0 step=8 attempt=1 (StateMissing)" in words(decided(with_new_pod(view, HEALED))[1])


def lost_by(view: JobView, member: str) -> JobView:
    """Another one is lost, and everybody waits."""
    view = with_crash(view, m(member))
    return with_followers(advance(view, decide(view, NOW), NOW))


def came_back(member: str) -> JobView:
    """The last epoch, in which another one was healed, was without that member; it has kept the same steps."""
    view = on_trial(a_job(), 1, "1/0")
    known = tuple(each for each in view.epoch.members if each.member != m(member))
    return held(over(view.model_copy(update={"epoch": view.epoch.model_copy(update={"members": known})})), BEGAN_AT)


def trials(view: JobView) -> dict[str, int]:
    """Which probations the next epoch begins with."""
    return {str(each.member): each.trial for each in begun(view).members if each.trial}


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(held(lost_by(a_job(), "1/0"), 10), {"1/0": 1}, id="its own memory had the step"),
        pytest.param(held(over(a_trial(BAD, GOOD, GOOD)), 8), {"0/0": 2}, id="it failed its first"),
        pytest.param(held(lost_by(a_trial(GOOD, GOOD), "1/0"), 9), {"0/0": 1, "1/0": 1}, id="another one was lost"),
        pytest.param(held(lost_by(a_trial(GOOD, GOOD), "1/0"), 16), {"1/0": 1}, id="another one was lost later"),
        pytest.param(held(lost_by(a_job(), "1/0")), {}, id="nobody has a state"),
        pytest.param(came_back("2/0"), {"1/0": 1}, id="one that the last was without brings the step along"),
    ],
)
def test_which_probations_the_next_epoch_begins_with(view: JobView, expected: dict[str, int]) -> None:
    assert trials(view) == expected


def test_who_was_given_a_peers_bytes_is_on_its_last_probation():
    view, made = decided(replaced("1/0"))
    (assigned,) = (each for each in made if isinstance(each, Assign))
    view = with_report(view, m("1/0"), private_held=report_of(view, m("1/0")).private_held)
    assert trials(with_received(view, assigned.assignment)) == {"1/0": 2}


def asked(view: JobView) -> dict[str, int]:
    return {str(member): each.epoch.probation for member, each in orders(view).items() if each.epoch}


def test_those_whose_bytes_must_be_the_same_are_asked_for_all_their_first_steps_and_others_for_a_few():
    view = on_trial(a_job(replicas=2, ranks=2), 1, "0/1")
    assert asked(view) == {"0/0": FIRST_STEPS, "0/1": 8, "1/0": FIRST_STEPS, "1/1": 8}
    assert asked(a_job(replicas=1, ranks=2)) == {"0/0": 0, "0/1": 0}
    assert asked(a_job(replicas=2, probation_steps=0)) == {"0/0": 0, "1/0": 0}


@pytest.mark.parametrize(
    ("own", "peer", "name"),
    [
        pytest.param([2.0], [2.0 * FACTOR], None, id="ten times is not far"),
        pytest.param([2.0], [2.1 * FACTOR], "loss", id="more than ten times less"),
        pytest.param([-2.1 * FACTOR], [2.0], "loss", id="more than ten times more, below zero"),
        pytest.param([2.0, 90.0, 2.0], [2.0, 2.0, 2.0], None, id="one step is one step"),
        pytest.param([2.0], [0.0], None, id="nothing is ten times nothing"),
        pytest.param([90.0, 2.0], [2.0], "loss", id="a step that one alone tells of does not count"),
    ],
)
def test_numbers_that_are_far_apart_are_told_and_nothing_is_decided(own, peer, name):
    def steps(values: list[float]) -> list[Passed]:
        return [passed(BEGAN_AT + 1 + n, signals=Signals(loss=each)) for n, each in enumerate(values)]

    view = telling(on_trial(a_job(replicas=2, step=BEGAN_AT)), r0=steps(own), r1=steps(peer))
    told = next(each for each in job_conditions(view, NOW) if each.type == "Degraded")
    assert told.status is (name is not None)
    assert name is None or (told.reason, name in told.message) == (Reason.PROBATION_DIFFERS, True)
    assert words(decided(view)[1]) == ["Nothing (AllTrain)"]


class Sick(Simulation):
    """A job in which one member's memory may go wrong; what the others compute beside it is not shown."""

    def heal(self, member: MemberId, *, pod: bool) -> None:
        """It is lost, and comes back."""
        self.train_to(3)
        if pod:
            self.replace_pod(member)
        else:
            self.kill_trainer(member)
        self.go_on()

    @property
    def ends(self) -> list[str]:
        return [str(each.reason) for each in self.decisions if isinstance(each, EndEpoch)]

    @property
    def rungs(self) -> list[str]:
        return [str(each.order.rung) for each in self.decisions if isinstance(each, BeginEpoch)]


@pytest.mark.parametrize("pod", [False, True], ids=["in place", "from a peer"])
@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("well", range(3))
def test_wrong_memory_after_a_heal_is_left_behind_with_all_that_came_of_it(replicas: int, well: int, pod: bool) -> None:
    job = Sick(replicas)
    job.go_on()
    job.heal(HEALED, pod=pod)
    job.train_to(3 + well)
    job.go_wrong(HEALED)
    for member in job.pods:
        job.train(member)
    job.go_on()
    assert job.ends[-1] == Reason.PROBATION_FAILED
    assert (job.is_training, job.steps) == (True, {0 if pod else 3 + well})
    assert job.rungs[-1] == (Rung.CHECKPOINT if pod else Rung.OWN_MEMORY)


def test_who_goes_wrong_again_and_again_ends_at_the_checkpoint_and_not_in_a_loop():
    job = Sick(3)
    job.go_on()
    job.heal(HEALED, pod=False)
    for _ in range(5):
        job.go_wrong(HEALED)
        for member in job.pods:
            job.train(member)
        job.go_on()
    assert job.ends.count(Reason.PROBATION_FAILED) == 2
    assert job.rungs[-2:] == [Rung.OWN_MEMORY, Rung.CHECKPOINT]


def test_wrong_memory_is_found_however_late_it_is_read():
    job = Sick(3)
    job.go_on()
    job.heal(HEALED, pod=False)
    job.go_wrong(HEALED)
    for _ in range(2):
        for member in job.pods:
            job.train(member)
    job.go_on()
    assert job.ends[-1] == Reason.PROBATION_FAILED
    assert [each.reason for each in job.decisions if isinstance(each, BeginEpoch)][-1] == Reason.NO_SOUND_STEP


def test_who_is_well_after_its_heal_trains_on():
    job = Sick(3)
    job.go_on()
    job.heal(HEALED, pod=True)
    job.train_to(30)
    assert job.ends.count(Reason.PROBATION_FAILED) == 0
    steps = report_of(job.view, HEALED).passed
    assert [each.step for each in steps] == [*range(4, 12)]
    assert all(each.state_digest for each in steps)


def test_a_member_that_never_was_healed_is_not_on_probation():
    job = Sick(3)
    job.go_on()
    job.train_to(3)
    job.go_wrong(HEALED)
    job.train_to(9)
    assert job.ends == []
