"""What is promised of every job, whatever happens to it: each promise is a method, judged when it is at stake.

Truth is what the simulated pods are, not what anybody has heard of them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.orders import Assignment
from checkpointheal.contract.report import Generation
from checkpointheal_operator.core.decisions import Assign, BeginEpoch, Decision, EndEpoch, LeaveEpoch
from checkpointheal_operator.core.epoch_record import EpochMember
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.reasons import Reason, Rung
from checkpointheal_operator.core.view import JobView
from simulation import Trainer
from troubled import Troubled

RESPECTED_GIVING_UP = {Reason.CRASH_LOOP_AT_STEP, Reason.ATTEMPTS_EXHAUSTED, Reason.PROBATION_EXHAUSTED}
"""Fallbacks that the breaker chose, whatever memory still holds."""


class Promised(Troubled):
    """A job whose every decision, order, load and end is compared with what was promised."""

    def __init__(self, replicas: int, ranks: int, **policy: object) -> None:
        self.forgot = False
        """The operator has lost its records: numbers that nobody alive has seen may come again."""
        self.attempts: list[int] = []
        self.epochs: list[int] = []
        self.ended: set[int] = set()
        self.begun: dict[int, BeginEpoch] = {}
        self.believed: dict[int, Mapping[int, frozenset[str]]] = {}
        """By epoch and coordinate: the digests that may be loaded."""
        self.seconds_to_rest = 0.0
        super().__init__(replicas, ranks, **policy)

    # When it is judged.

    def check(self, view: JobView, decision: Decision) -> None:
        self.what_is_written_of_likeness_is_so(view)
        match decision:
            case Assign():
                self.unknown_is_not_no(view)
                self.a_donor_is_another_replicas_holder_of_the_bytes_that_the_vote_believes(view, decision)
                self.attempts_grow_over_all_that_anybody_has_seen(view, decision.assignment)
            case BeginEpoch():
                self.all_members_of_an_epoch_begin_at_one_step_and_on_one_rung(decision)
                self.an_epoch_has_a_number_that_nobody_knows(decision)
                self.no_step_that_memory_could_restore_is_given_up(view, decision)
                self.nobody_falls_back_unless_the_policy_lets_it(view, decision)
                self.nobody_is_behind_unless_the_policy_lets_it_and_nothing_else_is_left(view, decision)
            case LeaveEpoch():
                assert {each.member for each in view.epoch.left_out} >= set(decision.back) > set()
            case EndEpoch():
                self.an_epoch_ends_only_for_a_member_that_is_truly_lost(view, decision)
                self.ended.add(decision.epoch)
            case _:
                pass

    def act(self, member: MemberId) -> bool:
        pod = self.pods[member]
        trainer, told = pod.trainer, pod.trainer is not None and pod.trainer.told
        answer, answered = trainer.answer if trainer is not None else None, pod.arena.numbers.numbers.epoch_answered
        moved = super().act(member)
        if trainer is not None and trainer.answer is not answer:
            self.an_answer_is_for_one_life_and_of_a_newer_epoch_than_any_before(member, trainer, answered)
        if trainer is not None and pod.trainer is None:
            self.nobody_is_killed_who_neither_stood_still_nor_outlived_its_epoch(trainer)
        if trainer is not None and trainer.told and not told:
            self.nobody_is_told_of_an_end_before_its_epoch_has_one(trainer)
        return moved

    def fetch(self, member: MemberId, *, succeeds: bool = True) -> bool:
        pod = self.pods[member]
        trained = pod.trainer.at if pod.trainer is not None and pod.trainer.phase == "training" else None
        newest = [slot for slot in pod.arena.slots.values() if slot.step == trained]
        moved = super().fetch(member, succeeds=succeeds)
        assert all(slot in pod.arena.slots.values() for slot in newest), f"a transfer overwrote what {member} trains on"
        return moved

    def check_words(self, member: MemberId, step: int, words: str | None) -> None:
        self.nobody_loads_bytes_that_were_not_read_and_believed(member, step, words)

    def judge(self) -> None:
        """At rest and in between: what must hold at every moment."""
        self.no_recipient_has_two_attempts_at_once()
        self.all_that_train_in_one_epoch_loaded_one_step()
        self.all_that_train_in_one_epoch_have_one_past()

    # What is promised.

    def what_is_written_of_likeness_is_so(self, view: JobView) -> None:
        """Whose memory went wrong before two were ever seen alike cannot be told from who differs by itself."""
        assert self.apart or self.sickened or not view.epoch.apart, "they were taken to differ, and never did"
        if self.apart and not self.apart_since and view.epoch.step is None and not self.forgot:
            assert not view.epoch.alike, "they were taken to have been alike, and never were"
        assert not set(view.epoch.alike) & set(view.epoch.apart)

    def a_donor_is_another_replicas_holder_of_the_bytes_that_the_vote_believes(
        self, view: JobView, decision: Assign
    ) -> None:
        assignment = decision.assignment
        heard = {each.report.pod_uid: each.report for each in view.heard}
        coordinate, step = assignment.recipient.member.coordinate, assignment.step
        assert not never_alike(view, coordinate), "nobody is given another's state where no two were ever alike"
        if not is_short(view):
            assert assignment.state_digest in believable(view, coordinate, step, view.policy.members())
        for donor in assignment.donors:
            assert donor.member.replica != assignment.recipient.member.replica
            assert donor.member.coordinate == assignment.recipient.member.coordinate
            held = {(each.step, each.schema_digest, each.state_digest) for each in heard[donor.pod_uid].generations}
            assert (assignment.step, assignment.schema_digest, assignment.state_digest) in held

    def attempts_grow_over_all_that_anybody_has_seen(self, view: JobView, assignment: Assignment) -> None:
        seen = [each.report.attempt_seen for each in view.heard]
        assert all(assignment.attempt > each for each in seen)
        assert self.forgot or all(assignment.attempt > earlier for earlier in self.attempts[-1:])
        self.attempts.append(assignment.attempt)

    def unknown_is_not_no(self, view: JobView) -> None:
        """Nothing is chosen while a pod that lives has its time to have its first word with this leader."""
        heard = {each.report.pod_uid for each in view.heard}
        newest = set(_newest(view).values())
        for pod in view.pods:
            due = max(view.leader_since, pod.seen_since) + view.policy.report_deadline
            late = self.now >= due or (is_short(view) and self.now >= view.leader_since + view.policy.report_deadline)
            assert pod.uid in heard or pod.uid not in newest or late, f"{pod.member} was not heard yet"

    def an_answer_is_for_one_life_and_of_a_newer_epoch_than_any_before(
        self, member: MemberId, trainer: Trainer, answered: int
    ) -> None:
        if trainer.answer is None:
            return
        epoch, pod = trainer.answer[0], self.pods[member]
        assert epoch > answered
        life = (member, pod.uid, trainer.incarnation)
        assert life in {(each.member, each.pod_uid, each.incarnation) for each in self.begun[epoch].members}

    def no_recipient_has_two_attempts_at_once(self) -> None:
        """Neither by the operator's word nor by what its donors allow."""
        standing = self.ordered
        wanted = {uid: orders.assignment for uid, orders in standing.items() if orders.assignment is not None}
        assert all(each.recipient.pod_uid == uid for uid, each in wanted.items())
        granted = {(grant.recipient.pod_uid, grant.attempt) for orders in standing.values() for grant in orders.grants}
        twice = [uid for uid, count in Counter(uid for uid, _ in granted).items() if count > 1]
        assert not twice, f"two attempts are granted at once to {twice}"
        assert all(wanted[uid].attempt == attempt for uid, attempt in granted if uid in wanted)

    def all_members_of_an_epoch_begin_at_one_step_and_on_one_rung(self, decision: BeginEpoch) -> None:
        order, rungs = decision.order, {each.rung for each in decision.members}
        there, left_out = {each.member for each in decision.members}, {each.member for each in decision.left_out}
        assert there.isdisjoint(left_out)
        assert there | left_out == set(self.policy.members())
        assert there <= set(self.pods)
        self.whole_replicas_go_on_and_no_fewer_than_the_policy_lets(decision, there)
        assert (order.step is None) == (order.rung in (Rung.CHECKPOINT, Rung.FRESH))
        if order.step is None:
            assert rungs == {order.rung}
        else:
            assert rungs <= {Rung.OWN_MEMORY, Rung.PEER}

    def whole_replicas_go_on_and_no_fewer_than_the_policy_lets(
        self, decision: BeginEpoch, there: set[MemberId]
    ) -> None:
        replicas = Counter(each.replica for each in there)
        assert set(replicas.values()) == {self.policy.ranks}
        assert len(replicas) >= (self.policy.min_replicas or self.policy.replicas)
        assert not decision.left_out or decision.order.step is not None
        assert (decision.reason == Reason.GOES_ON_WITHOUT) == bool(decision.left_out)

    def all_that_train_in_one_epoch_have_one_past(self) -> None:
        pasts: dict[tuple[int, int], set[str]] = {}
        for trainer in (pod.trainer for pod in self.pods.values()):
            if trainer is not None and trainer.phase == "training" and trainer.at is not None:
                pasts.setdefault((trainer.epoch, trainer.at), set()).add(trainer.past)
        assert all(len(each) == 1 for each in pasts.values()), pasts

    def all_that_train_in_one_epoch_loaded_one_step(self) -> None:
        for pod in self.pods.values():
            trainer = pod.trainer
            if trainer is None or trainer.phase != "training" or trainer.answer is None:
                continue
            begun = self.begun.get(trainer.epoch)
            assert begun is not None, f"{pod.member} trains in epoch {trainer.epoch}, which nobody began"
            assert trainer.answer[1] == begun.order.step

    def an_epoch_has_a_number_that_nobody_knows(self, decision: BeginEpoch) -> None:
        number = decision.order.epoch
        assert all(number > pod.arena.numbers.numbers.epoch_answered for pod in self.pods.values())
        assert self.forgot or number not in self.begun
        self.begun[number] = decision
        self.ended.discard(number)

    def no_step_that_memory_could_restore_is_given_up(self, view: JobView, decision: BeginEpoch) -> None:
        coordinates = range(view.policy.ranks)
        step, there = decision.order.step, tuple(each.member for each in decision.members)
        if step is not None:
            believed = {each: believable(view, each, step, there) for each in coordinates}
            self.believed[decision.order.epoch] = believed
        if decision.reason not in RESPECTED_GIVING_UP:
            assert step == _first(highest_restorable(view, there), highest_restorable_behind(view, there))

    def nobody_falls_back_unless_the_policy_lets_it(self, view: JobView, decision: BeginEpoch) -> None:
        assert decision.order.rung != Rung.CHECKPOINT or view.policy.fallback == "Checkpoint"

    def nobody_is_behind_unless_the_policy_lets_it_and_nothing_else_is_left(
        self, view: JobView, decision: BeginEpoch
    ) -> None:
        there, step = tuple(each.member for each in decision.members), decision.order.step
        private = {(whose, of) for holder, whose, of in _privates(view) if holder in there}
        for each in (each for each in decision.members if each.private_step is not None):
            assert view.policy.private_behind == "Allow"
            was_away = any(left.member == each.member for left in view.epoch.left_out)
            assert was_away or highest_restorable(view, there) is None
            assert each.member not in self.unable
            own = (of for whose, of in private if whose == each.member and _saw(view, whose, of))
            assert each.private_step == max(of for of in own if of <= step)

    def an_epoch_ends_only_for_a_member_that_is_truly_lost(self, view: JobView, decision: EndEpoch) -> None:
        if decision.sound is not None:
            self.a_probation_fails_only_where_memory_went_wrong_and_keeps_what_was_before(view, decision)
            return
        for member in decision.lost:
            known = view.epoch.member(member)
            if known is not None and view.epoch.open:
                assert not self._is_well(known, view), f"{member} trains on, and was given up: {decision.message}"

    def a_probation_fails_only_where_memory_went_wrong_and_keeps_what_was_before(
        self, view: JobView, decision: EndEpoch
    ) -> None:
        # Of a member that was healed before anybody could know that such ones differ, it cannot be told from damage.
        assert self.apart or view.epoch.number in self.sickened, f"nothing was wrong: {decision.message}"
        trials = {each.member: each.trial for each in view.epoch.members}
        assert all(trials[member] for member in decision.lost)
        assert decision.sound >= (view.epoch.step or 0)

    def _is_well(self, known: EpochMember, view: JobView) -> bool:
        pod = self.pods.get(known.member)
        trainer = pod.trainer if pod is not None else None
        if pod is None or trainer is None or (pod.uid, trainer.incarnation) != (known.pod_uid, known.incarnation):
            return False
        deaf_since = self.deaf_since.get(known.member)
        deaf = deaf_since is not None and self.now >= deaf_since + view.policy.agent_silence
        stood = trainer.incarnation in self.stood_still
        return trainer.phase == "training" and trainer.epoch == view.epoch.number and not stood and not deaf

    def nobody_is_killed_who_neither_stood_still_nor_outlived_its_epoch(self, trainer: Trainer) -> None:
        stood = trainer.incarnation in self.stood_still
        assert stood or self._is_over(trainer.epoch), f"{trainer} was killed though it is well"

    def nobody_is_told_of_an_end_before_its_epoch_has_one(self, trainer: Trainer) -> None:
        assert self._is_over(trainer.epoch), f"{trainer} was told that its epoch is over"

    def _is_over(self, epoch: int) -> bool:
        """Where records were lost, one is closed that may have begun unheard, and every one before it."""
        return any(epoch <= each for each in self.ended)

    def nobody_loads_bytes_that_were_not_read_and_believed(
        self, member: MemberId, step: int, words: str | None
    ) -> None:
        pod = self.pods[member]
        epoch = pod.trainer.epoch if pod.trainer is not None else 0
        slots = [slot for slot in pod.arena.slots.values() if slot.step == step and slot.words == words]
        assert slots, f"{member} was given {words!r}, which is not in its arena"
        assert all(slot.digested for slot in slots)
        assert slots[0].identity.state_digest in self.believed[epoch][member.coordinate]

    def it_ends_healed_or_in_a_named_fallback_within_its_deadlines(self) -> str:
        """Once nothing more goes wrong. Nobody starves: all train, and no heal stays open."""
        self.make_peace()
        began = self.now
        ending = self.come_to_rest(within=all_deadlines(self.policy))
        self.seconds_to_rest = self.now - began
        goal = max(self.steps) + 2
        self.train_to(goal)
        for _ in range(RUNGS if self.apart and not self.is_training else 0):
            # Who was healed before anybody could know that they differ fails its probation on one rung after the other.
            self.come_to_rest(within=all_deadlines(self.policy))
            goal = max(self.steps) + 2
            self.train_to(goal)
        self.judge()
        assert self.is_training
        assert self.steps == {goal}
        assert not [heal.name for heal in self.view.heals if heal.is_open], "a heal never had its verdict"
        return ending

    def restart_operator(self, *, with_records: bool = True) -> None:
        self.forgot = self.forgot or not with_records
        super().restart_operator(with_records=with_records)


RUNGS = 3
"""On which a job can begin to train again."""


def all_deadlines(policy: Policy) -> float:
    """Everything that may be waited for, one after the other."""
    attempts = policy.max_attempts * (policy.transfer_seconds_at_least + policy.retry_pause * 64)
    graces = policy.report_deadline + policy.agent_silence + policy.epoch_end_deadline + 2 * policy.stopped_grace
    return graces + policy.restore_budget + policy.transfer_seconds_at_least + policy.go_on_without + attempts


def is_short(view: JobView) -> bool:
    """Whether those who are there may be about to go on without the others."""
    return view.policy.may_be_short and not view.epoch.open


def believable(view: JobView, coordinate: int, step: int, there: Sequence[MemberId]) -> frozenset[str]:
    """Told the long way round: what most of those `there` hold; where as many hold others, what a lost one held.

    Nothing where lost ones held several of those, nor what more lost ones contradict than hold it, living or lost.
    Where no two were ever alike, each one's own; nothing where one has none. Nor what as many who lack that step
    contradict by the step beside it.
    """
    if never_alike(view, coordinate):
        own = {member: digest for member, digest in _digests(view, coordinate, step) if member in there}
        lacking = {each for each in there if each.coordinate == coordinate} - own.keys()
        return frozenset() if lacking else frozenset(own.values())
    believed = _elected(view, coordinate, step, there)
    return frozenset() if _is_contradicted(view, coordinate, step, there, believed) else believed


def _is_contradicted(
    view: JobView, coordinate: int, step: int, there: Sequence[MemberId], believed: frozenset[str]
) -> bool:
    """By members that have not read this step, but the one beside it, as its holders have, in one epoch."""
    read = {(member, at): found for at in _steps(view) for member, *found in _seals(view, coordinate, at)}
    voted = {member for member, at in read if at == step and member in there}
    own = {member for member in voted if read[member, step][0] in believed}
    others = {member for member, _at in read if member in there} - voted
    met: dict[int, set[MemberId]] = {}
    for (one, at), (other, and_at) in product(read, read):
        if one in own and other in others and at == and_at and read[one, at][1] == read[other, at][1] is not None:
            met.setdefault(at, set()).add(other)
    beside = max((at for at in met if at < step), default=min(met, default=None))
    if beside is None or len(own) > len(met[beside]):
        return False
    right = _elected(view, coordinate, beside, there)
    return not any(read[member, beside][0] in right for member in own if (member, beside) in read)


def _steps(view: JobView) -> set[int]:
    return {each.step for heard in view.heard for each in heard.report.generations}


def _elected(view: JobView, coordinate: int, step: int, there: Sequence[MemberId]) -> frozenset[str]:
    """By those alone who have read that step."""
    votes = Counter(digest for member, digest in _digests(view, coordinate, step) if member in there)
    most = {digest for digest, count in votes.items() if count == max(votes.values())}
    lost = Counter(digest for _uid, digest in _lost_digests(view, coordinate, step))
    believed = most if len(most) == 1 else most & lost.keys()
    if len(believed) > 1:
        return frozenset()
    return frozenset(
        each
        for each in believed
        if votes[each] + lost[each] >= max(lost[other] for other in {*lost, each} - {each} or {""})
    )


def never_alike(view: JobView, coordinate: int) -> bool:
    """Two are known, or written, to have held other bytes of a step of one epoch, and no two the same of any."""
    epoch, there = view.epoch, [each.report for each in view.heard if each.report.member.coordinate == coordinate]
    if coordinate in epoch.alike or any(each.trial for each in epoch.members if each.member.coordinate == coordinate):
        return False
    latest = {(each.member, each.pod_uid) for each in epoch.members}
    lost = {
        each.alike
        for each in view.remembered
        if each.member.coordinate == coordinate and (each.member, each.pod_uid) in latest
    }
    read = [(report.member, each) for report in there for each in (*report.generations, *report.passed)]
    digested = [(member, each) for member, each in read if each.state_digest is not None]
    pairs = [
        (one, other)
        for (whose, one), (others, other) in combinations(digested, 2)
        if whose != others and one.step == other.step
    ]
    alike = any(one.state_digest == other.state_digest for one, other in pairs)
    apart = any(one.epoch == other.epoch is not None for one, other in pairs)
    return not alike and True not in lost and (apart or False in lost or coordinate in epoch.apart)


def _lost_digests(view: JobView, coordinate: int, step: int) -> set[tuple[str, str]]:
    """By pod, where that is the last that it held: what was remembered of it, or heard of late."""
    lost = [each for each in view.remembered if each.member.coordinate == coordinate and _saw(view, each.member, step)]
    found = {(each.pod_uid, each.identity.state_digest) for each in lost if each.identity.step == step}
    gone = [each.report for each in view.heard if each.report.pod_uid not in _newest(view).values()]
    for report in (each for each in gone if each.member.coordinate == coordinate and _saw(view, each.member, step)):
        digested = [each for each in report.generations if each.state_digest is not None]
        last = max(digested, key=lambda each: (each.step, each.epoch or 0), default=None)
        if last is not None and last.step == step and last.state_digest is not None:
            found.add((report.pod_uid, last.state_digest))
    return found


def highest_restorable(view: JobView, there: Sequence[MemberId]) -> int | None:
    """Told the long way round: every coordinate is somewhere, and the private part of each of those who begin, if any.

    Only who is among them gives.
    """
    coordinates = range(view.policy.ranks)
    steps = {each.step for heard in view.heard for each in heard.report.generations if heard.report.member in there}
    private = {(member, step) for holder, member, step in _privates(view) if holder in there}
    good = (
        step
        for step in steps
        if all(believable(view, each, step, there) for each in coordinates)
        and all((member, step) in private or _begins(view, member, step) for member in there)
    )
    return max(good, default=None)


def highest_restorable_behind(view: JobView, there: Sequence[MemberId]) -> int | None:
    """The same where an earlier private part may stand in for one that is nowhere."""
    if view.policy.private_behind == "Refuse":
        return None
    steps = {each.step for heard in view.heard for each in heard.report.generations if heard.report.member in there}
    private = {(whose, of) for holder, whose, of in _privates(view) if holder in there}
    able = {heard.report.member for heard in view.heard if heard.report.behind}

    def goes_on(member: MemberId, step: int) -> bool:
        own = {of for whose, of in private if whose == member}
        return step in own or _begins(view, member, step) or (member in able and any(of < step for of in own))

    good = (
        step
        for step in steps
        if all(believable(view, each, step, there) for each in range(view.policy.ranks))
        and all(goes_on(member, step) for member in there)
    )
    return max(good, default=None)


def _first(*steps: int | None) -> int | None:
    return next((step for step in steps if step is not None), None)


def _saw(view: JobView, member: MemberId, step: int) -> bool:
    """It was there when the others came to that step."""
    return all(step <= each.since for each in view.epoch.left_out if each.member == member)


def _begins(view: JobView, member: MemberId, step: int) -> bool:
    """It has no private part of that step to be missed: the others went on without it, or it had begun there."""
    epoch = view.epoch
    if epoch.rung is None:
        return False
    if any(each.member == member for each in epoch.left_out):
        return any(each.member == member and step >= each.since for each in epoch.left_out)
    began = any(each.member == member and each.private_begins for each in epoch.members)
    return began and epoch.step is not None and step <= epoch.step


def _newest(view: JobView) -> dict[MemberId, str]:
    """Which pod holds each place."""
    claims = sorted(view.pods, key=lambda pod: (not pod.terminating, pod.seen_since, pod.uid))
    return {pod.member: pod.uid for pod in claims}


def _digests(view: JobView, coordinate: int, step: int) -> Iterator[tuple[MemberId, str]]:
    return ((member, digest) for member, digest, _epoch in _seals(view, coordinate, step))


def _seals(view: JobView, coordinate: int, step: int) -> Iterator[tuple[MemberId, str, int | None]]:
    """Who has read that step, what it is, and the epoch that it was sealed in."""
    holders = set(_newest(view).values())
    for heard in view.heard:
        member = heard.report.member
        if heard.report.pod_uid not in holders or member.coordinate != coordinate:
            continue
        for each in heard.report.generations:
            lives = _lives(view, step, each.epoch) and _is_of_its_past(view, member, each)
            if each.step == step and each.state_digest is not None and lives:
                yield member, each.state_digest, each.epoch


def _is_of_its_past(view: JobView, member: MemberId, held: Generation) -> bool:
    left = [each for each in view.epoch.left_out if each.member == member]
    return all(held.step <= each.since or (held.epoch or 0) >= each.epoch for each in left)


def _privates(view: JobView) -> Iterator[tuple[MemberId, MemberId, int]]:
    """Who holds it, whose, and of which step."""
    holders = set(_newest(view).values())
    for report in (each.report for each in view.heard if each.report.pod_uid in holders):
        for each in report.generations:
            if each.private and _lives(view, each.step, each.epoch) and _is_of_its_past(view, report.member, each):
                yield report.member, report.member, each.step
        yield from ((report.member, held.member, step) for held in report.private_held for step in held.steps)
        own = (step for step in report.private_own if _saw(view, report.member, step))
        yield from ((report.member, report.member, step) for step in own)


def _lives(view: JobView, step: int, sealed_in: int | None) -> bool:
    """It is not of a future that an epoch went back behind."""
    epoch = view.epoch
    if epoch.sound is not None and step > epoch.sound:
        return False
    gone_back_behind = epoch.step is None or step > epoch.step
    return epoch.rung is None or (sealed_in or 0) >= epoch.number or not gone_back_behind
