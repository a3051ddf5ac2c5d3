"""Everything that goes wrong, drawn by Hypothesis: a state machine whose rules are done to a promised job.

`Tally` counts what was done and how it ended. `search` runs machines and raises what the first broken promise raises,
with the shortest way to it.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.decisions import BeginEpoch
from promises import Promised
from troubled import UNDER_WAY_AT_MOST

LAYOUTS = [(2, 1), (3, 1), (4, 1), (2, 2), (3, 2), (4, 2)]
MOVES = ["start_what_is_missing", "move_trainer", "digest", "act", "fetch", "fetch_private", "report", "order", "train"]
ASTRAY = ["lose", "repeat", "late_word", "late_word", "ghost_speaks"]
TRAINER_STRUCK = ["kill_trainer", "raise_error", "withdraw", "stop_trainer", "go_on_again", "damage", "damage_newest"]
TRAINER_STRUCK += ["go_wrong"]
AGENT_STRUCK = ["kill_agent", "deafen", "die_speaking", "join", "silence", "speak_again"]
POD_STRUCK = ["replace_pod", "haunt", "remove", "drain"]
SECONDS = (0.5, 1.0, 2.0, 7.0, 12.0, 31.0, 200.0)
RULES_A_RUN = 100
RESTED_AFTER = 20
"""Steps before it is left in peace again."""

numbers = st.integers(0, 7)


@dataclass
class Tally:
    """What was done, how often, and how it ended."""

    done: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def steps(self) -> int:
        return self.done.total()


class Machine(RuleBasedStateMachine):
    """One job. Progress and trouble take turns; at the end, and sometimes before, it is left in peace."""

    tally = Tally()

    def __init__(self) -> None:
        super().__init__()
        self.job = Promised(2, 1)
        self.steps = 0
        """Since it was last at rest."""

    @initialize(
        layout=st.sampled_from(LAYOUTS),
        trained=st.integers(0, 3),
        policy=st.fixed_dictionaries(
            {
                "fallback": st.sampled_from(["Checkpoint", "Hold"]),
                "donor_limit": st.integers(1, 2),
                "private_behind": st.sampled_from(["Refuse", "Allow"]),
                "min_replicas": st.sampled_from([None, 1, 2]),
            }
        ),
        way=st.sampled_from(["level 1", "level 2", "on demand"]),
        unable=st.booleans(),
        apart=st.sampled_from([None, None, None, None, 0, 3]),
        finish=st.booleans(),
    )
    def begins(
        self,
        layout: tuple[int, int],
        trained: int,
        policy: dict[str, object],
        way: str,
        unable: bool,
        apart: int | None,
        finish: bool,
    ) -> None:
        self.job = Promised(*layout, **policy)
        self.job.apart, self.job.apart_since = apart is not None, apart or 0
        if unable:
            self.job.unable = frozenset(self.job.policy.members()[1:])
        if way != "level 1":
            self.job.survive(on_demand=way == "on demand")
        self.job.go_on()
        self.job.train_to(trained)
        self.job.transfers_finish = finish

    # It goes on.

    @rule(moves=st.lists(st.tuples(st.sampled_from(MOVES), numbers), min_size=4, max_size=24))
    def some_parts_move(self, moves: list[tuple[str, int]]) -> None:
        for part, number in moves:
            self.do(part, number)

    @rule(which=st.lists(numbers, min_size=1, max_size=6))
    def some_words_arrive(self, which: list[int]) -> None:
        for number in which:
            self.count("deliver")
            self.job.deliver(number)

    @rule()
    def the_operator_looks(self) -> None:
        self.count("look")
        self.job.look()

    @rule(rounds=st.integers(1, 4))
    def everybody_moves(self, rounds: int) -> None:
        self.count("all move")
        for _ in range(rounds):
            self.job.go_round()

    @rule(rounds=st.integers(1, 3))
    def everybody_trains(self, rounds: int) -> None:
        self.count("all train and move")
        for _ in range(rounds):
            for member in self.job.pods:
                self.job.train(member)
            self.job.go_round()

    @rule(seconds=st.sampled_from(SECONDS))
    def time_passes(self, seconds: float) -> None:
        self.count("time passes")
        self.job.now += seconds
        if seconds > UNDER_WAY_AT_MOST:
            self.job.flying.clear()

    # It goes wrong.

    @rule(what=st.sampled_from(ASTRAY), number=numbers)
    def a_word_goes_astray(self, what: str, number: int) -> None:
        self.count(what)
        getattr(self.job, what)(number)

    @rule(number=numbers, which=numbers)
    def an_agent_hears_old_orders(self, number: int, which: int) -> None:
        self.do("late_orders", number, which)

    @rule(number=numbers)
    def a_report_is_long_under_way(self, number: int) -> None:
        self.do("hold_back", number)

    @rule(number=numbers, rounds=st.integers(0, 4), kill=st.booleans())
    def an_agents_last_word_comes_late(self, number: int, rounds: int, kill: bool) -> None:
        self.do("die_speaking", number)
        self.job.go_round()
        if kill:
            self.do("kill_trainer", number)
        for _ in range(rounds):
            self.job.go_round()
        self.count("late_word")
        self.job.late_word(-1)
        self.job.look()

    @rule(what=st.sampled_from(TRAINER_STRUCK + AGENT_STRUCK + POD_STRUCK), number=numbers)
    def a_member_is_struck(self, what: str, number: int) -> None:
        self.do(what, number)

    @precondition(lambda self: not self.job.donors())
    @rule(number=numbers)
    def a_pod_is_replaced_and_bytes_cross(self, number: int) -> None:
        self.do("heal_until_bytes_cross", number)

    @precondition(lambda self: self.job.donors())
    @rule(what=st.sampled_from(["kill_agent", *POD_STRUCK]), number=numbers)
    def a_donor_is_struck_in_mid_transfer(self, what: str, number: int) -> None:
        donors = self.job.donors()
        self.count(f"{what} of a donor in mid-transfer")
        getattr(self.job, what)(donors[number % len(donors)])

    @precondition(lambda self: self.job.recipients())
    @rule(what=st.sampled_from(["fail", "hang"]), number=numbers)
    def a_transfer_goes_wrong(self, what: str, number: int) -> None:
        recipients = self.job.recipients()
        self.count(f"a transfer will {what}")
        getattr(self.job, what)(recipients[number % len(recipients)])

    @rule(number=numbers)
    def a_trainer_dies_over_a_damaged_slot(self, number: int) -> None:
        self.do("damage_newest", number)
        self.job.go_round()
        self.do("kill_trainer", number)

    @rule(number=numbers, replaced=st.booleans())
    def a_member_is_lost_before_it_commits(self, number: int, replaced: bool) -> None:
        self.do("lose_before_commit", number)
        if replaced:
            self.do("replace_pod", number)

    @rule(number=numbers, rounds=st.integers(0, 3))
    def memory_goes_wrong_after_a_heal(self, number: int, rounds: int) -> None:
        self.do("kill_trainer", number)
        for _ in range(rounds * 4):
            self.job.go_round()
        self.do("go_wrong", number)
        for _ in range(rounds):
            for member in self.job.pods:
                self.job.train(member)
            self.job.go_round()

    @rule(number=numbers, what=st.sampled_from(["remove", "remove", "stop_trainer", "silence"]), back=st.booleans())
    def a_member_stays_away_until_the_others_may_go_on(self, number: int, what: str, back: bool) -> None:
        self.do(what, number)
        for seconds in (0, 0, 0, 31, 0, 0):
            self.job.now += seconds
            for _ in range(2):
                self.job.go_round()
        self.count("stayed away" if self.job.view.epoch.left_out else "nobody goes on")
        for member in list(self.job.pods):
            self.job.train(member)
        if back:
            self.job.replace_pod(self.member(number))
            for _ in range(3):
                self.job.go_round()

    @rule(
        which=st.sets(numbers, min_size=2, max_size=3),
        what=st.sampled_from(["kill_trainer", "kill_agent", "replace_pod"]),
    )
    def several_are_struck_at_once(self, which: set[int], what: str) -> None:
        self.count(f"{what} of several")
        for member in {self.member(number) for number in which} & self.job.pods.keys():
            getattr(self.job, what)(member)

    @rule(what=st.sampled_from([*["leader changes", "operator dies in mid-look"] * 4, "records lost"]), written=numbers)
    def the_operator_is_struck(self, what: str, written: int) -> None:
        self.count(what)
        if what == "operator dies in mid-look":
            self.job.look(at_most=written)
        self.job.restart_operator(with_records=what != "records lost")

    @precondition(lambda self: self.job.is_training)
    @rule(heard=st.booleans(), leader_changes=st.booleans())
    def it_is_done_and_begun_again(self, heard: bool, leader_changes: bool) -> None:
        self.count("begun again")
        for member in list(self.job.pods):
            self.job.finish(member)
        if heard:
            self.job.go_round()
        if leader_changes:
            self.job.restart_operator()
        self.job.begin_again()

    @rule(transfers=st.booleans(), privates=st.booleans())
    def bytes_cross_or_do_not(self, transfers: bool, privates: bool) -> None:
        self.count("bytes cross or do not")
        self.job.transfers_finish, self.job.privates_arrive = transfers, privates

    # It is left in peace.

    @precondition(lambda self: self.steps > RESTED_AFTER)
    @rule()
    def nothing_more_goes_wrong_for_a_while(self) -> None:
        self.count("peace")
        self.rest()

    def teardown(self) -> None:
        self.rest()

    def rest(self) -> None:
        self.steps = 0
        begun = [each.left_out for each in self.job.decisions if isinstance(each, BeginEpoch)]
        self.tally.done["epochs without somebody"] += sum(bool(each) for each in begun)
        self.job.look()
        ending = self.job.it_ends_healed_or_in_a_named_fallback_within_its_deadlines()
        self.tally.endings[ending] += 1
        self.tally.seconds.append(self.job.seconds_to_rest)

    @invariant()
    def every_promise_is_kept(self) -> None:
        self.job.judge()

    # How it is done.

    def member(self, number: int) -> MemberId:
        members = self.job.policy.members()
        return members[number % len(members)]

    def do(self, what: str, number: int, *more: object) -> None:
        """To one member, if it has a pod now."""
        member = self.member(number)
        if member in self.job.pods:
            self.count(what)
            method: Callable[..., object] = getattr(self.job, what)
            method(member, *more)

    def count(self, what: str) -> None:
        self.steps += 1
        self.tally.done[what] += 1


def search(number: int, runs: int, tally: Tally) -> None:
    """So many runs, the same for the same number. Raises where a promise is broken."""
    machine = type("Machine", (Machine,), {"tally": tally})
    limits = settings(
        max_examples=runs,
        stateful_step_count=RULES_A_RUN,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(seed(number)(machine), settings=limits)
