"""The simulated job to which everything happens, and which afterwards is left in peace until it has come to rest.

What happens is true to what machines and networks do: words are lost, come twice, late and in another order; orders are
an old leader's; pods that were replaced live on unseen; agents start again and do not know their trainers yet; bytes
change before anybody has read them. Must not know what was promised: `promises` judges.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.orders import Orders
from checkpointheal.contract.report import AgentReport
from checkpointheal_operator.core import decisions as core
from checkpointheal_operator.core.decisions import held_by
from checkpointheal_operator.core.facts import Heard
from checkpointheal_operator.core.hearing import hear, is_news
from checkpointheal_operator.core.reasons import Reason
from simulation import SETTLES_WITHIN, Pod, Simulation

RESTS = (Reason.ALL_TRAIN, Reason.ALL_DONE)
OLD_ORDERS_KEPT = 4
ROUNDS = 400
TRIES = 8
"""Rounds without news after which those who try something again and again are left to the clock."""
ROUNDS_TO_A_TRANSFER = 12
CREATED_APART = 1.0
"""Seconds, at least, between two pods of one place: what the API server tells of their age is whole seconds."""
UNDER_WAY_AT_MOST = 10.0
"""Seconds after which a word can arrive no more."""
UNDISTURBED = "trained on"


class Troubled(Simulation):
    """One job, and all that can be done to it."""

    def __init__(self, replicas: int, ranks: int, **policy: object) -> None:
        self.ghosts: list[Pod] = []
        """Replaced pods that live on, as on a node that nobody reaches."""
        self.stood_still: set[str] = set()
        """Trainers that ever did."""
        self.news = True
        """Something that the operator looks at has changed since it looked."""
        self.damages = 0
        self.sickened: set[int] = set()
        """Epochs in which memory went wrong, or bytes changed before they were read."""
        self.hung: set[int] = set()
        """Attempts that will never end by themselves."""
        self.late: list[tuple[float, AgentReport]] = []
        self.deaf_since: dict[MemberId, float] = {}
        self.past_orders: defaultdict[str, deque[Orders]] = defaultdict(lambda: deque(maxlen=OLD_ORDERS_KEPT))
        super().__init__(replicas, ranks, **policy)

    # What goes wrong with words.

    def repeat(self, index: int) -> bool:
        """One of the reports under way arrives twice."""
        if self.flying:
            self.flying.append(self.flying[index % len(self.flying)])
        return bool(self.flying)

    def hold_back(self, member: MemberId) -> None:
        """What the agent says now is long under way."""
        agent = self.pods[member].agent
        if agent is not None:
            self.late.append((self.now, agent.report()))

    def late_word(self, index: int) -> bool:
        """What was held back arrives after all, unless its connection has timed out meanwhile."""
        if not self.late:
            return False
        said_at, report = self.late.pop(index % len(self.late))
        if self.now < said_at + UNDER_WAY_AT_MOST:
            self.take(hear(self.heard.get(report.pod_uid), report, self.now))
        return True

    def late_orders(self, member: MemberId, number: int) -> bool:
        """An old leader's orders, or some that were long under way, reach an agent after newer ones."""
        pod = self.pods.get(member)
        past = self.past_orders[pod.uid] if pod is not None else None
        return bool(past) and pod is not None and self.obey(pod, past[number % len(past)])

    def ghost_speaks(self, number: int) -> bool:
        """A pod that was replaced has something to say."""
        speaking = [ghost.agent for ghost in self.ghosts if ghost.agent is not None]
        if speaking:
            self.flying.append(speaking[number % len(speaking)].report())
        return bool(speaking)

    # What goes wrong with members.

    def deafen(self, member: MemberId) -> None:
        """The agent starts again, and its trainer's line takes its time to find it."""
        pod = self.pods[member]
        pod.agent, pod.cut = None, pod.trainer is not None
        self.deaf_since[member] = self.now

    def die_speaking(self, member: MemberId) -> None:
        """The agent starts again, and the last word of the one before is still under way."""
        self.hold_back(member)
        self.pods[member].agent = None

    def join(self, member: MemberId) -> bool:
        self.deaf_since.pop(member, None)
        return self.pods[member].join()

    def stop_trainer(self, member: MemberId, *, stopped: bool = True) -> None:
        pod = self.pods[member]
        if pod.trainer is not None and stopped:
            self.stood_still.add(pod.trainer.incarnation)
        super().stop_trainer(member, stopped=stopped)

    def haunt(self, member: MemberId) -> None:
        """The pod is deleted and replaced, but lives on where nobody can stop it."""
        self.drain(member)
        self.ghosts.append(self.pods[member])
        self.now += CREATED_APART
        self.replace_pod(member)

    def remove(self, member: MemberId) -> None:
        """The pod goes, and the next one is long in coming."""
        del self.pods[member]
        self.news = True

    def drain(self, member: MemberId) -> None:
        self.pods[member].terminating = True
        self.news = True

    def replace_pod(self, member: MemberId) -> None:
        super().replace_pod(member)
        self.news = True

    def begin_again(self) -> None:
        super().begin_again()
        self.news = True

    def damage(self, member: MemberId) -> bool:
        """Bytes change after the seal, before the agent has read them."""
        unread = [slot for slot in self.pods[member].arena.slots.values() if not slot.digested]
        self.sickened |= {slot.epoch for slot in unread}
        for slot in unread:
            self.damages += 1
            slot.words = f"damaged {self.damages}: {slot.words}"
        return bool(unread)

    def go_wrong(self, member: MemberId) -> None:
        trainer = self.pods[member].trainer
        if trainer is not None and trainer.phase == "training":
            self.sickened.add(trainer.epoch)
            super().go_wrong(member)

    def damage_newest(self, member: MemberId) -> bool:
        """All of them commit, and before its agent has read that, one has other bytes."""
        for each in self.pods:
            self.train(each)
        return self.damage(member)

    def go_on_again(self, member: MemberId) -> None:
        self.stop_trainer(member, stopped=False)

    def silence(self, member: MemberId) -> None:
        self.pods[member].silent = True

    def speak_again(self, member: MemberId) -> None:
        self.pods[member].silent = False

    def fail(self, member: MemberId) -> None:
        """What it receives breaks off, or is not what it should be."""
        self.fetch(member, succeeds=False)

    def hang(self, member: MemberId) -> None:
        """What it receives never ends, and nobody tells it."""
        agent = self.pods[member].agent
        if agent is not None and agent.fetching is not None:
            self.hung.add(agent.fetching.attempt)

    def fetch(self, member: MemberId, *, succeeds: bool = True) -> bool:
        agent = self.pods[member].agent
        hangs = agent is not None and agent.fetching is not None and agent.fetching.attempt in self.hung
        return not hangs and super().fetch(member, succeeds=succeeds)

    def recipients(self) -> list[MemberId]:
        """Those that receive a state now."""
        return [member for member, pod in self.pods.items() if pod.agent is not None and pod.agent.fetching is not None]

    def donors(self) -> list[MemberId]:
        """Those that a state is just received from."""
        fetching = [pod.agent.fetching for pod in self.pods.values() if pod.agent is not None]
        return sorted({each.donors[0].member for each in fetching if each is not None} & self.pods.keys())

    # What goes wrong with the operator.

    def restart_operator(self, *, with_records: bool = True) -> None:
        super().restart_operator(with_records=with_records)
        self.news = True

    def fall_back_by(self, fallback: str) -> None:
        super().fall_back_by(fallback)
        self.news = True

    # How the operator sees it.

    def claims(self) -> Iterable[Pod]:
        return (*self.ghosts, *self.pods.values())

    def take(self, heard: Heard) -> None:
        self.news = is_news(self.heard.get(heard.report.pod_uid), heard) or self.news
        super().take(heard)

    def look(self, at_most: int = SETTLES_WITHIN) -> list[core.Decision]:
        self.news = False
        made = super().look(at_most)
        for uid, standing in self.ordered.items():
            if not self.past_orders[uid] or self.past_orders[uid][-1] != standing:
                self.past_orders[uid].append(standing)
        return made

    def heal_until_bytes_cross(self, member: MemberId) -> None:
        """A pod is lost, and another gives it its state."""
        self.transfers_finish = False
        self.replace_pod(member)
        for _ in range(ROUNDS_TO_A_TRANSFER):
            if self.donors():
                return
            self.go_round()

    # Peace.

    def make_peace(self) -> None:
        """Nothing more goes wrong. What stands still or hangs is left so: that is the operator's to mend.

        Wrong memory is not: without a probation nobody looks at it.
        """
        self.transfers_finish = self.transfers_succeed = self.privates_arrive = True
        self.ghosts.clear()
        self.late.clear()
        for member in self.policy.members():
            if member not in self.pods or self.pods[member].terminating:
                self.replace_pod(member)
            self.join(member)
            self.pods[member].silent = False
            if (trainer := self.pods[member].trainer) is not None:
                trainer.wrong = False
        self.pods = {member: self.pods[member] for member in self.policy.members()}
        self.news = True

    def come_to_rest(self, within: float) -> str:
        """Until everybody trains; how it ended, in a word. The operator looks at news, and when it said it would.

        The clock is moved only to where the operator waits for: it must know by itself when time changes its answer.
        """
        deadline, decided, last, tries = self.now + within, len(self.decisions), self.look()[-1], 0
        for _ in range(ROUNDS):
            moved, tries = self.all_move(), 0 if self.news else tries + 1
            if self.news:
                last = self.look()[-1]
            moved = any([moved, *(self.order(member) for member in self.pods)])
            if self.is_training and self._rests(last):
                return next(self._beginnings(decided), UNDISTURBED)
            if not moved or tries > TRIES:
                self._wait_as_told(last, deadline)
        raise AssertionError(f"never comes to rest: {last}: {last.message}")

    def _rests(self, last: core.Decision) -> bool:
        """An operator that lost its records does not know of the epoch that is under way, and leaves it alone."""
        return last.reason in RESTS or (last.reason == Reason.STILL_TRAINING and self.view.epoch.number == 0)

    def _wait_as_told(self, last: core.Decision, deadline: float) -> None:
        if held_by(last):
            assert all(pod.trainer and pod.trainer.held for pod in self.pods.values()), "held, and not all were told"
            self.fall_back_by("Checkpoint")
        else:
            until = last.until if isinstance(last, core.Wait) else None
            assert until is not None, f"waits for nothing that could come: {last}: {last.message}"
            assert until <= deadline, f"waits beyond all its deadlines: {last}: {last.message}"
            self.now, self.news = max(self.now, until), True

    def _beginnings(self, since: int) -> Iterator[str]:
        """How epochs began since then, the latest first."""
        for each in reversed(self.decisions[since:]):
            if isinstance(each, core.BeginEpoch):
                yield f"{each.order.rung}: {each.reason}"
