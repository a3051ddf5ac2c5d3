"""Whatever goes wrong and in whatever order words arrive: afterwards everybody trains, from where it really could."""

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.decisions import Assign, BeginEpoch, Decision, held_by
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.view import JobView
from simulation import Simulation

LAYOUTS = [(2, 1), (3, 1), (2, 2), (3, 2)]
MOVES = ["start_what_is_missing", "move_trainer", "digest", "act", "fetch", "fetch_private", "report", "order", "train"]
FAULTS = ["kill_trainer", "kill_agent", "replace_pod", "stop_trainer", "raise_error", "withdraw"]
KINDS = (
    MOVES * 3
    + ["look"] * 4
    + ["deliver"] * 6
    + ["go_round"] * 8
    + ["lose", "pass_time", "hold_transfers", "hold_privates", "operator"]
    + FAULTS
)
RESPECTED_GIVING_UP = {Reason.CRASH_LOOP_AT_STEP, Reason.ATTEMPTS_EXHAUSTED}
"""Fallbacks that the breaker chose, whatever memory still holds."""


class Watched(Simulation):
    """A job whose every decision is compared with what was to be expected."""

    def __init__(self, replicas: int, ranks: int, **policy: object) -> None:
        self.attempts: list[int] = []
        self.epochs: list[int] = []
        self.forgot = False
        super().__init__(replicas, ranks, **policy)

    def restart_operator(self, *, with_records: bool = True) -> None:
        self.forgot = self.forgot or not with_records
        super().restart_operator(with_records=with_records)

    def check(self, view: JobView, decision: Decision) -> None:
        match decision:
            case Assign():
                self._check_assignment(view, decision)
            case BeginEpoch():
                self._check_beginning(view, decision)
            case _:
                pass

    def _check_assignment(self, view: JobView, decision: Assign) -> None:
        assignment = decision.assignment
        heard = {each.report.pod_uid: each.report for each in view.heard}
        for donor in assignment.donors:
            assert donor.member.replica != assignment.recipient.member.replica
            assert donor.member.coordinate == assignment.recipient.member.coordinate
            held = {(g.step, g.state_digest) for g in heard[donor.pod_uid].generations}
            assert (assignment.step, assignment.state_digest) in held
        assert assignment.attempt > heard[assignment.recipient.pod_uid].attempt_seen
        if not self.forgot:
            assert all(assignment.attempt > earlier for earlier in self.attempts)
        self.attempts.append(assignment.attempt)

    def _check_beginning(self, view: JobView, decision: BeginEpoch) -> None:
        order = decision.order
        assert all(order.epoch > pod.arena.numbers.numbers.epoch_answered for pod in self.pods.values())
        assert self.forgot or all(order.epoch > earlier for earlier in self.epochs)
        self.epochs.append(order.epoch)
        assert {each.member for each in decision.members} == set(self.pods)
        event(f"begins by {order.rung}: {order.reason}")
        assert order.rung != "Checkpoint" or view.policy.fallback == "Checkpoint"
        if decision.reason not in RESPECTED_GIVING_UP:
            assert order.step == highest_restorable(view)


def highest_restorable(view: JobView) -> int | None:
    """Told the long way round: every coordinate is somewhere, every member's private part is somewhere."""
    uids = {pod.uid for pod in view.pods}
    reports = [each.report for each in view.heard if each.report.pod_uid in uids]
    epoch = view.epoch

    def lives(step: int, sealed_in: int | None) -> bool:
        gone_back_behind = epoch.step is None or step > epoch.step
        return epoch.rung is None or (sealed_in or 0) >= epoch.number or not gone_back_behind

    whole: set[tuple[int, int]] = set()
    private: set[tuple[MemberId, int]] = set()
    for report in reports:
        for each in report.generations:
            if lives(each.step, each.epoch):
                whole |= {(report.member.coordinate, each.step)} if each.state_digest else set()
                private |= {(report.member, each.step)} if each.private else set()
        private |= {(held.member, step) for held in report.private_held for step in held.steps}
    steps = {step for _, step in whole}
    members = view.policy.members()
    good = (
        step
        for step in steps
        if all((member.coordinate, step) in whole and (member, step) in private for member in members)
    )
    return max(good, default=None)


@st.composite
def mishaps(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Moves of single parts, some faults among them."""
    return draw(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5)), max_size=80))


def mishap(job: Simulation, kind: str, number: int) -> None:
    members = list(job.pods)
    member = members[number % len(members)]
    if kind == "look":
        job.look()
    elif kind in ("deliver", "lose"):
        getattr(job, kind)(number)
    elif kind == "pass_time":
        job.now += (0.5, 2.0, 7.0, 12.0, 31.0, 1.0)[number]
    elif kind == "operator":
        job.restart_operator(with_records=number % 2 == 0)
    elif kind == "go_round":
        job.go_round()
    elif kind == "hold_transfers":
        job.transfers_finish = number % 2 == 0
    elif kind == "hold_privates":
        job.privates_arrive = number % 3 > 0
    elif kind == "fetch":
        job.fetch(member, succeeds=number != 5)
    elif kind == "stop_trainer":
        job.stop_trainer(member, stopped=number != 5)
    else:
        getattr(job, kind)(member)


def calm_down(job: Simulation) -> None:
    """Nothing more goes wrong. Graces, rests and deadlines pass; a job that is held gets a person's word."""
    job.transfers_finish = job.privates_arrive = True
    for _ in range(40):
        job.go_on()
        if job.is_training:
            return
        if held_by(job.decisions[-1]) and job.all_in("waiting"):
            assert all(pod.trainer and pod.trainer.held for pod in job.pods.values())
            job.fall_back_by("Checkpoint")
        job.now += 7.0
    raise AssertionError(f"never trains again: {job.decisions[-1]}: {job.decisions[-1].message}")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(LAYOUTS), st.integers(0, 3), mishaps(), st.sampled_from(["Checkpoint", "Hold"]), st.booleans())
def test_every_run_ends_with_everybody_training_at_the_highest_step_that_could_be_restored(
    layout: tuple[int, int], trained: int, mishaps: list[tuple[str, int]], fallback: str, survives: bool
) -> None:
    job = Watched(*layout, fallback=fallback)
    if survives:
        job.survive()
    job.go_on()
    job.train_to(trained)
    for kind, number in mishaps:
        mishap(job, kind, number)
    job.look()
    calm_down(job)
    goal = max(job.steps) + 2
    job.train_to(goal)
    assert job.is_training
    assert job.steps == {goal}
