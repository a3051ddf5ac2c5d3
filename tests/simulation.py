"""A whole job as plain objects on one virtual clock: pods, arenas, agents, trainers and one operator.

The operator is the real core, the agents' duties and what they see of their trainers are the real ones; only bytes,
sockets and time are made up. Bytes are words that say what they are, so that a wrong one is seen at once. Every moving
part moves when it is told to, in any order, and says whether it did anything.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import md5
from itertools import count

from checkpointheal.agent.drilling import wanted
from checkpointheal.agent.duties import (
    Answer,
    Duty,
    EndTrainer,
    ExplainWait,
    Fetch,
    FetchPrivate,
    KillTrainer,
    LetLeave,
    Sight,
    StopFetch,
    duties,
)
from checkpointheal.agent.keep import Keep
from checkpointheal.agent.passed import PassedSteps
from checkpointheal.agent.remembered import Numbers
from checkpointheal.agent.trainer_seen import TrainerSeen
from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.orders import Assignment, Orders, Peer
from checkpointheal.contract.report import AgentReport, DrillFacts, Generation, TransferFacts
from checkpointheal.contract.trainer import EXIT_EPOCH_OVER, Applied, Done, Exited, Hello, TrainerSays, Wait, Withdraw
from checkpointheal_operator.core import decisions as core
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.facts import Heard, PodFacts
from checkpointheal_operator.core.hearing import hear, remember
from checkpointheal_operator.core.orders import orders
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.records import advance
from checkpointheal_operator.core.view import JobView

SCHEMA = "5" * 32
RUN = Hello(role="run", incarnation="run", pid=2)
SETTLES_WITHIN = 64


def content(coordinate: int, step: int) -> str:
    """The replicated state of a coordinate at a step: the same for every replica and every history."""
    return f"state of {coordinate} at {step}"


def private_part(member: MemberId, step: int) -> bytes:
    """What belongs to one member alone at a step."""
    return f"private part of {member} at {step}".encode()


class MemoryOfNumbers:
    """The agent's numbers file, without a file."""

    def __init__(self) -> None:
        self.numbers = Numbers()

    def grow(self, **numbers: int) -> Numbers:
        known = self.numbers.model_dump()
        self.numbers = Numbers(**{key: max(value, numbers.get(key, 0)) for key, value in known.items()})
        return self.numbers


@dataclass
class Slot:
    """One sealed generation."""

    step: int
    epoch: int
    words: str
    digested: bool = False

    @property
    def identity(self) -> Identity:
        digest = md5(self.words.encode(), usedforsecurity=False).hexdigest()
        return Identity(step=self.step, schema_digest=SCHEMA, state_digest=digest)


@dataclass
class Arena:
    """Two slots, the private parts beside them, and the numbers that outlive an agent."""

    slots: dict[int, Slot] = field(default_factory=dict)
    private: dict[int, bytes] = field(default_factory=dict)
    numbers: MemoryOfNumbers = field(default_factory=MemoryOfNumbers)

    def seal(self, slot: Slot) -> None:
        """Over the same step, into a free slot, or over the oldest."""
        same = [index for index, held in self.slots.items() if held.step == slot.step]
        free = [index for index in (0, 1) if index not in self.slots]
        oldest = sorted(self.slots, key=lambda index: self.slots[index].step)
        self.slots[(same + free + oldest)[0]] = slot

    def keep_private(self, steps: list[int]) -> None:
        self.private = {step: part for step, part in self.private.items() if step in steps}


@dataclass
class Trainer:
    """One life of the training process. `at` is the last step that it committed; None before it has one."""

    incarnation: str
    phase: str = "new"
    epoch: int = 0
    at: int | None = None
    request: int = 0
    answer: tuple[int, int | None, str | None, bytes | None] | None = None
    private_begins: bool = False
    private_step: int | None = None
    told: bool = False
    left_out: frozenset[MemberId] = frozenset()
    """Who is not in its epoch."""
    past: str = ""
    """Of the steps up to `at`, those that were computed without somebody."""
    leave: int = 0
    """The epoch that it was asked to leave at a commit."""
    recalled: bool = False
    """All have agreed that their last commit was the last one of their epoch."""
    survives: bool = False
    """Level 2: it outlives its epoch and asks again."""
    may_be_behind: bool = True
    promised: bool = False
    """On demand: its last commit can be given, and was not yet."""
    stopped: bool = False
    held: bool = False
    wrong: bool = False
    """Its memory went wrong: so is all that it seals from now on."""

    @property
    def hello(self) -> Hello:
        known = {"incarnation": self.incarnation, "epoch": self.epoch, "behind": self.may_be_behind}
        return Hello(role="trainer", pid=1, **known)

    @property
    def wait(self) -> Wait:
        return Wait(request=self.request, budget=180, held=self.held, goes_on=self.survives)

    def ask_again(self) -> None:
        """From its own memory, or from what a peer gives it meanwhile."""
        self.phase, self.told, self.recalled, self.answer = "waiting", False, False, None
        self.request += 1

    def words_again(self) -> Iterator[TrainerSays]:
        """What the line says to an agent that has come back."""
        if self.phase == "new":
            return
        yield self.hello
        if self.phase == "waiting":
            yield self.wait
        if self.phase == "done":
            yield Done()


class Agent:
    """One start of a sidecar: the real duties over a made-up arena."""

    def __init__(self, name: str, pod: "Pod") -> None:
        self.name, self.pod = name, pod
        self.sequence = 0
        self.orders = Orders(revision=0)
        self.seen = TrainerSeen(pod.arena.numbers)
        self.keep = Keep()
        self.passed = PassedSteps()
        self.fetching: Assignment | None = None
        self.fetching_private: FetchPrivate | None = None
        self.transfer: TransferFacts | None = None
        self.drill: DrillFacts | None = None
        self.explained: ExplainWait | None = None
        self.answered = ""
        if not pod.cut:
            self.hear_again()
        if pod.untold is not None:
            self.seen.hear(RUN, pod.untold)

    def hear_again(self) -> None:
        """The trainer's line has found this start of the agent."""
        for said in self.pod.trainer.words_again() if self.pod.trainer is not None else ():
            self.hear(said)

    def hear(self, said: TrainerSays) -> None:
        if self.pod.trainer is not None:
            self.seen.hear(self.pod.trainer.hello, said)

    def report(self) -> AgentReport:
        self.sequence += 1
        numbers = self.pod.arena.numbers.numbers
        return AgentReport(
            job=self.pod.job,
            member=self.pod.member,
            pod=self.pod.name,
            pod_uid=self.pod.uid,
            agent=self.name,
            started=float(self.name.rpartition("-")[2]),
            sequence=self.sequence,
            endpoint=Endpoint(host="10.0.0.1", port=7000),
            build="torch",
            trainer=self.seen.facts,
            generations=tuple(self._generations()),
            passed=self.passed.steps,
            private_held=self.keep.held(),
            private_own=tuple(sorted(self.pod.arena.private)),
            behind=self.seen.behind,
            transfer=self.transfer,
            drills=True,
            drill=self.drill,
            attempt_seen=numbers.attempt,
            epoch_seen=numbers.epoch_answered,
            answered=self.answered,
        )

    def rehearse(self) -> bool:
        """The whole drill that it is ordered as recipient; whether there was one."""
        drill = wanted(self.seen.facts, self.orders)
        done = self.drill.heal if self.drill else ""
        if drill is None or drill.recipient.pod_uid != self.pod.uid or drill.heal == done:
            return False
        known = {"donor": drill.donors[0].pod, "step": drill.step, "state_digest": drill.state_digest}
        self.drill = DrillFacts(heal=drill.heal, attempt=1, state="verified", bytes=1000, total=1000, **known)
        return True

    def _generations(self) -> Iterator[Generation]:
        for slot in self.pod.arena.slots.values():
            yield Generation(
                step=slot.step,
                schema_digest=SCHEMA,
                state_digest=slot.identity.state_digest if slot.digested else None,
                bytes=1000,
                private=slot.step in self.pod.arena.private,
                epoch=slot.epoch,
            )

    def digest(self) -> bool:
        undone = [slot for slot in self.pod.arena.slots.values() if not slot.digested]
        for slot in undone:
            slot.digested = True
        self.passed.see(self._generations())
        return bool(undone)

    def act(self) -> bool:
        due = duties(self._sight(), self.orders)
        for duty in due:
            self._do(duty)
        return bool(due)

    def _sight(self) -> Sight:
        numbers, arena = self.pod.arena.numbers.numbers, self.pod.arena
        return Sight(
            trainer=self.seen.facts,
            epoch_answered=numbers.epoch_answered,
            epoch_told_over=self.seen.told_over,
            epoch_told_to_leave=self.seen.told_to_leave,
            attempt_seen=numbers.attempt,
            slots={index: slot.identity for index, slot in self._own_slots().items() if slot.digested},
            private_steps=frozenset(arena.private),
            fetching=self.fetching,
            fetching_private=self.fetching_private.step if self.fetching_private else None,
            explained=self.explained,
            held=self.seen.held,
        )

    def _own_slots(self) -> dict[int, Slot]:
        """But for what it sealed before it missed something."""
        order = self.orders.epoch
        since = 0 if order is None else order.missed_since
        return {index: slot for index, slot in self.pod.arena.slots.items() if slot.epoch >= since}

    def _do(self, duty: Duty) -> None:
        trainer = self.pod.trainer
        match duty:
            case Answer():
                self._answer(duty)
            case EndTrainer(order):
                self.seen.told_over = order.epoch
                if trainer is not None and 0 < trainer.epoch <= order.epoch:
                    trainer.told = True
            case LetLeave(order):
                self._let_leave(order.epoch)
            case KillTrainer():
                self.pod.end_trainer(signal=9)
            case Fetch(assignment):
                self.pod.arena.numbers.grow(attempt=assignment.attempt)
                self.fetching = assignment
                self.say_of(assignment, "asking")
            case StopFetch(assignment):
                self.fetching = None
                self.say_of(assignment, "failed")
            case FetchPrivate():
                self.fetching_private = duty
            case ExplainWait():
                self._explain(duty)

    def _let_leave(self, epoch: int) -> None:
        self.seen.told_to_leave = epoch
        if self.pod.trainer is not None:
            self.pod.trainer.leave = epoch

    def _explain(self, duty: ExplainWait) -> None:
        self.explained, trainer = duty, self.pod.trainer
        if trainer is not None and trainer.held != duty.hold:
            trainer.held = duty.hold
            self.hear(trainer.wait)

    def _answer(self, duty: Answer) -> None:
        arena, step = self.pod.arena, duty.order.step
        own = self._own_slots()
        arena.slots = {index: slot for index, slot in own.items() if step is not None and slot.step <= step}
        arena.keep_private([kept for kept in arena.private if step is not None and kept <= step])
        self.keep.forget_after(step)
        arena.numbers.grow(epoch_answered=duty.order.epoch)
        trainer = self.pod.trainer
        if trainer is not None and trainer.phase == "waiting":
            words = arena.slots[duty.slot].words if duty.slot is not None else None
            trainer.private_begins, trainer.private_step = duty.order.private_begins, duty.order.private_step
            part = step if trainer.private_step is None else trainer.private_step
            private = arena.private.get(part) if part is not None else None
            trainer.answer = (duty.order.epoch, step, words, private)
            trainer.left_out = frozenset(duty.order.left_out)

    def say_of(self, assignment: Assignment, state: str) -> None:
        self.transfer = TransferFacts(
            heal=assignment.heal, attempt=assignment.attempt, state=state, donor=assignment.donors[0].pod, total=1000
        )


@dataclass
class Pod:
    """A pod: an arena, an agent that may be dead, a trainer that may be dead."""

    member: MemberId
    name: str
    uid: str
    born: float
    job: str = "demo"
    arena: Arena = field(default_factory=Arena)
    agent: Agent | None = None
    trainer: Trainer | None = None
    silent: bool = False
    terminating: bool = False
    finished: bool = False
    untold: Exited | None = None
    cut: bool = False
    """The trainer's line has not found its agent again yet."""

    @property
    def standing(self) -> Exited | None:
        """What `run` says to every agent that comes."""
        return self.untold if self.untold is not None and self.untold.stopped else None

    @property
    def facts(self) -> PodFacts:
        return PodFacts(
            member=self.member,
            name=self.name,
            uid=self.uid,
            seen_since=self.born,
            terminating=self.terminating,
            finished=self.finished,
        )

    def say(self, said: TrainerSays) -> None:
        """The trainer says something; without an agent it is lost."""
        if self.agent is not None and not self.cut:
            self.agent.hear(said)

    def join(self) -> bool:
        """The trainer's line finds the agent."""
        was_cut, self.cut = self.cut, False
        if was_cut and self.agent is not None:
            self.agent.hear_again()
        return was_cut

    def end_trainer(self, signal: int | None = None, code: int | None = None) -> None:
        """It ends; `run` sees how."""
        if self.trainer is None:
            return
        ended, self.trainer, self.cut = self.trainer, None, False
        if self.agent is not None:
            self.agent.seen.leave(ended.hello)
        self.tell_exited(Exited(incarnation=ended.incarnation, signal=signal, code=code))
        self.finished = code == 0

    def stop_trainer(self, *, stopped: bool) -> None:
        """It stands still, or goes on; `run` sees it."""
        if self.trainer is not None and self.trainer.phase not in ("new", "done"):
            self.trainer.stopped = stopped
            self.tell_exited(Exited(incarnation=self.trainer.incarnation, stopped=stopped))

    def tell_exited(self, exited: Exited) -> None:
        """`run` says it, to the next agent where none is there; that a trainer stands still, to each one."""
        if self.agent is not None:
            self.agent.seen.hear(RUN, exited)
        ended = exited.code is not None or exited.signal is not None
        self.untold = exited if exited.stopped or (ended and self.agent is None) else None


def _is_gone(pod: Pod, answer: tuple[int, int | None, str | None, bytes | None]) -> bool:
    """Its agent, which was late, has answered for a newer epoch and dropped that slot: it is found to be damaged."""
    epoch, step, words, _private = answer
    kept = any(slot.step == step and slot.words == words for slot in pod.arena.slots.values())
    return not kept and pod.arena.numbers.numbers.epoch_answered > epoch


class Simulation:
    """One job. `check` sees every decision with the view that it was made of."""

    def __init__(self, replicas: int = 3, ranks: int = 1, **policy: object) -> None:
        self.now = 100.0
        self.policy = Policy.model_validate({"replicas": replicas, "ranks": ranks} | policy)
        self._numbers = count(1)
        self.job = "demo"
        self.pods = {member: self._new_pod(member) for member in self.policy.members()}
        self.view = JobView(job="demo", policy=self.policy, leader_since=self.now)
        self.heard: dict[str, Heard] = {}
        self.ordered: dict[str, Orders] = {}
        self.flying: list[AgentReport] = []
        self.transfers_finish = self.transfers_succeed = self.drills_finish = True
        self.privates_arrive = True
        self.applied: list[tuple[MemberId, int, int | None]] = []
        self.decisions: list[core.Decision] = []
        self.survivors: frozenset[MemberId] = frozenset()
        """Whose trainers are written for level 2: usually all of them, or none."""
        self.on_demand = False
        """Survivors give their last commit when their epoch is over, and nothing is kept before."""
        self.unable: frozenset[MemberId] = frozenset()
        """Whose programs count steps in a private part, or are of an older build."""
        self.apart = False
        """Each replica has a state of its own, though it is declared as one that all share."""
        self.apart_since = 0
        """The first step of which it has."""
        self.made: set[tuple[MemberId, int]] = set()
        """Every private part that there ever was, but for those of a past that its member was left out of."""
        self.last_commits: dict[tuple[int, int, frozenset[str]], bool] = {}
        """By epoch, step and who was there: whether they have agreed to leave it there."""

    # What goes wrong.

    def kill_trainer(self, member: MemberId, signal: int | None = 9, code: int | None = None) -> None:
        self.pods[member].end_trainer(signal, code)

    def lose_before_commit(self, member: MemberId) -> None:
        """It is lost once its peers have all that they need of it for their update."""
        for each in [each for each in self.pods if each != member]:
            self.train(each)
        self.kill_trainer(member)

    def count_steps(self, member: MemberId) -> None:
        """Its program has a private part that does, from its next start on."""
        self.unable |= {member}

    def stop_trainer(self, member: MemberId, *, stopped: bool = True) -> None:
        self.pods[member].stop_trainer(stopped=stopped)

    def go_wrong(self, member: MemberId) -> None:
        """A bit of its trainer's memory flips, and nobody sees it."""
        trainer = self.pods[member].trainer
        if trainer is not None:
            trainer.wrong = True

    def kill_agent(self, member: MemberId) -> None:
        self.pods[member].agent = None

    def replace_pod(self, member: MemberId) -> None:
        self.pods[member] = self._new_pod(member)

    def begin_again(self) -> None:
        """Another run: every pod of the one before is gone, and its memory."""
        self.pods = {member: self._new_pod(member) for member in self.policy.members()}
        self.made.clear()

    def scale(self, replicas: int) -> None:
        """The job has more places from now on, or fewer."""
        self.policy = self.policy.model_copy(update={"replicas": replicas})
        self.view = self.view.model_copy(update={"policy": self.policy})
        places = self.policy.members()
        self.pods = {member: self.pods.get(member) or self._new_pod(member) for member in places}

    def fall_back_by(self, fallback: str) -> None:
        """The user wants it otherwise from now on."""
        self.policy = self.policy.model_copy(update={"fallback": fallback})
        self.view = self.view.model_copy(update={"policy": self.policy})

    def survive(self, *, on_demand: bool = False) -> None:
        """The script is written for level 2: its trainers outlive their epochs."""
        self.survivors, self.on_demand = frozenset(self.policy.members()), on_demand
        for pod in self.pods.values():
            if pod.trainer is not None:
                pod.trainer.survives = True

    def restart_operator(self, *, with_records: bool = True) -> None:
        """All that it heard is gone; without records, all that it ever decided too."""
        self.heard, self.ordered, self.flying = {}, {}, []
        if with_records:
            self.view = self.view.model_copy(update={"leader_since": self.now, "heard": ()})
        else:
            self.view = JobView(job="demo", policy=self.policy, leader_since=self.now)

    # What moves. Each returns whether anything changed.

    def start_what_is_missing(self, member: MemberId) -> bool:
        pod, changed = self.pods[member], False
        if pod.agent is None and not pod.finished:
            pod.agent, pod.untold, changed = Agent(f"agent-{next(self._numbers)}", pod), pod.standing, True
        if pod.trainer is None and not pod.finished:
            traits = {"survives": member in self.survivors, "may_be_behind": member not in self.unable}
            pod.trainer, changed = Trainer(f"trainer-{next(self._numbers)}", **traits), True
        return changed

    def move_trainer(self, member: MemberId) -> bool:
        pod = self.pods[member]
        trainer = pod.trainer
        if trainer is None or trainer.stopped:
            return False
        if (trainer.told and trainer.survives) or (trainer.recalled and self._all_have_committed(trainer)):
            if trainer.promised:
                self._seal(pod, trainer)
            trainer.ask_again()  # without a new hello
            pod.say(trainer.wait)
        elif trainer.told:
            pod.end_trainer(code=EXIT_EPOCH_OVER)
        elif trainer.phase == "new":
            trainer.phase = "starting"
            pod.say(trainer.hello)
        elif trainer.phase == "starting":
            trainer.phase, trainer.request = "waiting", trainer.request + 1
            pod.say(trainer.hello)
            pod.say(trainer.wait)
        elif trainer.phase == "waiting" and trainer.answer is not None:
            trainer.phase, trainer.epoch = "loading", trainer.answer[0]
        elif trainer.phase == "loading":
            self._load(pod, trainer)
        else:
            return False
        return True

    def _load(self, pod: Pod, trainer: Trainer) -> None:
        """What it is given must be its own, whole, and of that very step."""
        if trainer.answer is None:
            raise RuntimeError("a trainer loads only an answer")
        epoch, step, words, private = trainer.answer
        if step is not None and _is_gone(pod, trainer.answer):
            pod.end_trainer(code=1)
            return
        if step is not None:
            self.check_words(pod.member, step, words)
            of = step if trainer.private_step is None else trainer.private_step
            own = None if trainer.private_begins else private_part(pod.member, of)
            assert of <= step, f"{pod.member} was given a private part of the future"
            assert trainer.may_be_behind or of == step, f"{pod.member} cannot take an earlier part"
            assert private == own, f"{pod.member} was given {private!r} for step {step}"
            lost = trainer.private_begins and (pod.member, step) in self.made
            assert not lost, f"{pod.member} had a private part of step {step}, and began anew"
        trainer.at, trainer.phase, trainer.wrong = step or 0, "training", False
        trainer.past = (words or "").partition("|")[2]
        self.applied.append((pod.member, epoch, step))
        pod.say(Applied(epoch=epoch, step=step, seconds=0.1))

    def check_words(self, member: MemberId, step: int, words: str | None) -> None:
        """What it is given must be the state of its coordinate at that step."""
        said = (words or "").partition("|")[0]
        assert said == content(member.coordinate, step), f"{member} was given {words!r} for step {step}"

    def withdraw(self, member: MemberId) -> bool:
        """Its budget is used up: it starts from the user's checkpoint, and its peers will not agree with it."""
        pod = self.pods[member]
        if pod.trainer is None or pod.trainer.phase != "waiting" or pod.trainer.answer is not None:
            return False
        if pod.trainer.held:
            return False
        pod.say(Withdraw(request=pod.trainer.request))
        pod.end_trainer(code=1)
        return True

    def train(self, member: MemberId) -> bool:
        """One update and its commit, if every rank of the world is there to compute it with."""
        pod = self.pods[member]
        trainer = pod.trainer
        if trainer is None or trainer.phase != "training" or trainer.stopped or trainer.at is None or trainer.recalled:
            return False
        world = self._world(trainer)
        if len(world) < len(set(self.policy.members()) - trainer.left_out):
            return False
        for other in world:
            if other is None or other.phase != "training" or other.epoch != trainer.epoch or other.at is None:
                return False
            if other.at < trainer.at or (other.stopped and other.at == trainer.at):
                return False
        trainer.at += 1
        self.made.add((pod.member, trainer.at))
        pod.arena.private[trainer.at] = private_part(pod.member, trainer.at)
        named = [trainer.private_step] if trainer.private_step is not None else []
        pod.arena.keep_private(sorted(pod.arena.private)[-3:] + named)
        if trainer.left_out:
            trainer.past += f" {trainer.at} without {', '.join(map(str, sorted(trainer.left_out)))};"
            trainer.recalled = self._is_last_commit(trainer, world)
        if self.on_demand:
            pod.arena.slots, trainer.promised = {}, True
        else:
            self._seal(pod, trainer)
        if self.privates_arrive:
            self._hand_over(pod, trainer.at, pod.agent.orders.buddies if pod.agent else ())
        return True

    def _seal(self, pod: Pod, trainer: Trainer) -> None:
        """Its last commit lies in the arena."""
        if trainer.at is None:
            raise RuntimeError("a trainer seals only what it has committed")
        trainer.promised = False
        of = f"{pod.member}'s own " if self.apart and trainer.at >= self.apart_since else ""
        words = of + content(pod.member.coordinate, trainer.at) + (trainer.past and f"|{trainer.past}")
        pod.arena.seal(Slot(trainer.at, trainer.epoch, f"wrong {words}" if trainer.wrong else words))

    def _world(self, trainer: Trainer) -> list[Trainer | None]:
        """Those with whom it computes."""
        return [pod.trainer for member, pod in self.pods.items() if member not in trainer.left_out]

    def _is_last_commit(self, trainer: Trainer, world: Iterable[Trainer | None]) -> bool:
        """One collective: the first who comes to it finds out for all."""
        there = [each for each in world if each is not None]
        key = (trainer.epoch, trainer.at or 0, frozenset(each.incarnation for each in there))
        return self.last_commits.setdefault(key, any(each.leave == trainer.epoch for each in there))

    def _all_have_committed(self, trainer: Trainer) -> bool:
        """Who is the first to leave has heard all others in that last collective."""
        return all(each is None or (each.at or 0) >= (trainer.at or 0) for each in self._world(trainer))

    def _hand_over(self, pod: Pod, step: int, buddies: Iterable[Peer]) -> None:
        for buddy in buddies:
            keeper = self._by_uid(buddy.pod_uid)
            if keeper is not None and keeper.agent is not None:
                keeper.agent.keep.put(pod.member, step, private_part(pod.member, step), keeper.agent.orders.keep_steps)

    def raise_error(self, member: MemberId) -> bool:
        """A collective fails where a peer is not in the epoch any more."""
        trainer = self.pods[member].trainer
        if trainer is None or trainer.phase != "training" or trainer.stopped:
            return False
        world = self._world(trainer)
        if all(other is not None and other.phase == "training" and other.epoch == trainer.epoch for other in world):
            return False
        self.pods[member].end_trainer(code=1)
        return True

    def finish(self, member: MemberId) -> bool:
        """The script has no more steps to do."""
        pod = self.pods[member]
        if pod.trainer is None or pod.trainer.phase != "training":
            return False
        pod.trainer.phase = "done"
        pod.say(Done())
        pod.end_trainer(code=0)
        return True

    def digest(self, member: MemberId) -> bool:
        agent = self.pods[member].agent
        return agent is not None and agent.digest()

    def act(self, member: MemberId) -> bool:
        """The agent does what is due by its latest orders."""
        agent = self.pods[member].agent
        return agent is not None and agent.act()

    def fetch(self, member: MemberId, *, succeeds: bool = True) -> bool:
        """The transfer to that member ends, one way or the other."""
        agent = self.pods[member].agent
        if agent is None or agent.fetching is None:
            return False
        assignment, agent.fetching = agent.fetching, None
        given = self._given(assignment) if succeeds else None
        if given is not None:
            epoch = agent.orders.epoch.epoch if agent.orders.epoch else 0
            self.pods[member].arena.seal(Slot(assignment.step, epoch, given.words, digested=True))
        agent.say_of(assignment, "failed" if given is None else "verified")
        return True

    def _given(self, assignment: Assignment) -> Slot | None:
        """What the donor holds, if it was granted and still holds just that."""
        donor = self._by_uid(assignment.donors[0].pod_uid)
        if donor is None or donor.agent is None or assignment not in donor.agent.orders.grants:
            return None
        wanted = (assignment.step, assignment.state_digest)
        held = ((slot, slot.identity) for slot in donor.arena.slots.values() if slot.digested)
        return next((slot for slot, known in held if (known.step, known.state_digest) == wanted), None)

    def fetch_private(self, member: MemberId) -> bool:
        """Its own private part comes back from whoever keeps it."""
        agent = self.pods[member].agent
        if agent is None or agent.fetching_private is None:
            return False
        errand, agent.fetching_private = agent.fetching_private, None
        for holder in errand.holders:
            keeper = self._by_uid(holder.pod_uid)
            part = keeper.agent.keep.get(member, errand.step) if keeper is not None and keeper.agent else None
            if part is not None:
                self.pods[member].arena.private[errand.step] = part
                return True
        return False

    def report(self, member: MemberId) -> bool:
        """The agent sends what it knows; it arrives when it is delivered."""
        pod = self.pods[member]
        if pod.agent is None or pod.silent:
            return False
        self.flying.append(pod.agent.report())
        return True

    def deliver(self, index: int) -> bool:
        """One of the reports under way arrives."""
        if not self.flying:
            return False
        report = self.flying.pop(index % len(self.flying))
        self.take(hear(self.heard.get(report.pod_uid), report, self.now))
        return True

    def take(self, heard: Heard) -> None:
        """The operator keeps what it heard."""
        self.heard[heard.report.pod_uid] = heard

    def lose(self, index: int) -> bool:
        """One of the reports under way never arrives."""
        return bool(self.flying) and self.flying.pop(index % len(self.flying)) is not None

    def order(self, member: MemberId) -> bool:
        """The agent hears what stands for it."""
        pod = self.pods[member]
        standing = self.ordered.get(pod.uid)
        return standing is not None and self.obey(pod, standing)

    def obey(self, pod: Pod, standing: Orders) -> bool:
        """These orders reach its agent."""
        if pod.agent is None or pod.silent or standing.revision == pod.agent.orders.revision:
            return False
        known = {each.pod_uid for each in pod.agent.orders.buddies}
        pod.agent.orders = standing
        pod.agent.passed.want(standing.epoch)
        pod.agent.answered = standing.question or pod.agent.answered
        if self.privates_arrive:
            new = [each for each in standing.buddies if each.pod_uid not in known]
            for step in sorted(pod.arena.private):
                self._hand_over(pod, step, new)
        return True

    def claims(self) -> Iterable[Pod]:
        """Every pod that the operator sees."""
        return self.pods.values()

    def look(self, at_most: int = SETTLES_WITHIN) -> list[core.Decision]:
        """The operator gathers, decides, writes down and orders, until there is nothing to do.

        It may be killed in between: then `at_most` so many decisions are written down, and nobody hears of them.
        """
        pods = tuple(pod.facts for pod in self.claims())
        view = self.view.model_copy(update={"pods": pods, "heard": tuple(self.heard.values())})
        view = remember(view, self.now)
        self.heard = {each.report.pod_uid: each for each in view.heard}
        made: list[core.Decision] = []
        while not made or not isinstance(made[-1], core.Nothing | core.Wait):
            if len(made) == at_most < SETTLES_WITHIN:
                self.view = view
                return made
            made.append(decide(view, self.now))
            self.check(view, made[-1])
            self._count_out(made[-1])
            view = advance(view, made[-1], self.now)
            assert len(made) <= SETTLES_WITHIN, f"does not settle: {[str(each) for each in made[-4:]]}"
        self.view = view
        standing = orders(view, made[-1])
        self.ordered = {pod.uid: standing[member] for member, pod in self.pods.items()}
        self.decisions += made
        return made

    def _count_out(self, decision: core.Decision) -> None:
        """What a member made of steps that the others go on to compute without it is of another past."""
        since = {each.member: each.since for each in decision.left_out} if isinstance(decision, core.BeginEpoch) else {}
        self.made = {made for made in self.made if made[0] not in since or made[1] < since[made[0]]}

    def check(self, view: JobView, decision: core.Decision) -> None:
        """Tests look over the operator's shoulder here."""

    # How it goes on when nothing more goes wrong.

    def go_round(self) -> bool:
        """Everybody moves once, then the operator; whether anything changed."""
        moved = self.all_move()
        self.look()
        return any([moved, *(self.order(member) for member in self.pods)])

    def all_move(self) -> bool:
        """Everybody but the operator moves once, and is heard; whether anything changed."""
        changed = []
        for member in self.pods:
            moves = (self.start_what_is_missing, self.move_trainer, self.digest, self.act, self.fetch_private)
            changed += [move(member) for move in moves]
            if self.transfers_finish:
                changed.append(self.fetch(member, succeeds=self.transfers_succeed))
            if self.drills_finish:
                changed.append(self.rehearse(member))
            if (trainer := self.pods[member].trainer) is not None and 0 < trainer.leave == trainer.epoch:
                changed.append(self.train(member))
            self.report(member)
        while self.flying:
            self.deliver(0)
        return any(changed)

    def go_on(self, rounds: int = 200) -> None:
        """Until nothing changes any more but the time."""
        for _ in range(rounds):
            if not self.go_round():
                return
        raise AssertionError("the job does not come to rest")

    def rehearse(self, member: MemberId) -> bool:
        """Its agent carries out the drill that it is ordered."""
        agent = self.pods[member].agent
        return agent is not None and agent.rehearse()

    def resume_at(self, step: int) -> None:
        """Everybody has just loaded the user's checkpoint of this step."""
        for pod in self.pods.values():
            if pod.trainer is not None:
                pod.trainer.at = step

    def forget_private_parts(self, member: MemberId) -> None:
        """No buddy keeps any of that member any more."""
        for pod in self.pods.values():
            if pod.agent is None:
                continue
            kept, pod.agent.keep = pod.agent.keep, Keep()
            for held in kept.held():
                for step in held.steps if held.member != member else ():
                    pod.agent.keep.put(held.member, step, kept.get(held.member, step) or b"", held.steps)

    def train_to(self, step: int) -> None:
        """Everybody commits every step up to this one."""
        while behind := [member for member, pod in self.pods.items() if pod.trainer and (pod.trainer.at or 0) < step]:
            moved = [self.train(member) for member in behind]
            self.go_round()
            assert any(moved), "the job does not train"

    @property
    def is_training(self) -> bool:
        """All of them, in one epoch: the one that the operator holds open, if it has not lost its records since."""
        epochs = {pod.trainer.epoch for pod in self.pods.values() if pod.trainer and not pod.trainer.stopped}
        known = self.view.epoch.number == 0 or (epochs == {self.view.epoch.number} and self.view.epoch.open)
        return self.all_in("training") and len(epochs) == 1 and known

    @property
    def steps(self) -> set[int]:
        """Where its trainers are."""
        return {pod.trainer.at or 0 for pod in self.pods.values() if pod.trainer}

    def all_in(self, phase: str) -> bool:
        trainers = [pod.trainer for pod in self.pods.values()]
        return all(each is not None and each.phase == phase and not each.stopped for each in trainers)

    def _new_pod(self, member: MemberId) -> Pod:
        number = next(self._numbers)
        return Pod(member, f"pod-{member.replica}-{member.rank}-{number}", f"uid-{number}", self.now, self.job)

    def _by_uid(self, uid: str) -> Pod | None:
        return next((pod for pod in self.pods.values() if pod.uid == uid), None)
