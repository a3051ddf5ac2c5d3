"""Incidents as text, with the decisions that they lead to. One runner; every file is one incident.

A line is a comment, a command, or an expected decision (`-> ...`). Commands:

    job replicas=3 ranks=1 step=1200 [policy=value ...]    a job whose members have all committed that step
    level 2 [on demand]                                    its trainers outlive their epochs and ask again
    survived M ...                                         are these the processes of before?
    trainer M killed | raises | stopped | goes on | done   what happens to a trainer
    trainer M killed before commit                         its peers make that update
    trainer M counts steps                                 in a private part, from its next start on
    agent M killed | silent | speaks
    pod M replaced | gone | drained | created
    replicas N                                             the job has so many from now on
    fallback Checkpoint | Hold                             what follows from now on where no memory has the state
    slot M damaged | lost [step]                           bytes in its arena change or go before anybody reads them
    private M lost                                         no buddy keeps a private part of it any more
    transfers held | free | fail                           what becomes of bytes under way
    operator restarts [without records]
    seconds N                                              time passes
    train N                                                everybody commits N more steps
    rounds N                                               everybody moves N times, the operator after them
    on                                                     everybody moves until nothing changes but the time
    all train at N                                         is it so?

`REWRITE_SCENARIOS=1 pytest tests/scenarios` writes the decisions that are made into the files: read the difference.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checkpointheal.contract.identity import MemberId
from checkpointheal_operator.core.decisions import Decision, Nothing, Wait
from checkpointheal_operator.core.view import JobView
from simulation import Pod, Simulation

HERE = Path(__file__).parent
REWRITE = bool(os.environ.get("REWRITE_SCENARIOS"))


class Told(Simulation):
    """A job that remembers the decisions since it was last asked; what is waited for is told when it changes."""

    def __init__(self, replicas: int, ranks: int, **policy: object) -> None:
        self.told: list[str] = []
        self._waits_for = ""
        super().__init__(replicas, ranks, **policy)

    def check(self, view: JobView, decision: Decision) -> None:
        if isinstance(decision, Nothing | Wait):
            if str(decision) == self._waits_for:
                return
            self._waits_for = str(decision)
        self.told.append(str(decision))


class Scenario:
    """One file, read line by line. A command is the method of its name."""

    def __init__(self) -> None:
        self._job = Told(1, 1)
        self._gone: dict[MemberId, Pod] = {}
        self._first: dict[MemberId, str] = {}

    def play(self, text: str) -> str:
        """Carry every command out; returns the text with the decisions that were made."""
        lines: list[str] = []
        for line in text.splitlines():
            if line.startswith("  ->"):
                continue
            lines.append(line)
            if words := line.partition("#")[0].split():
                COMMANDS[words[0]](self, *words[1:])
                lines += [f"  -> {each}" for each in self._job.told]
                self._job.told = []
        return "\n".join(lines) + "\n"

    def job(self, *settings: str) -> None:
        said = {name: value for name, _, value in (each.partition("=") for each in settings)}
        known: dict[str, Any] = {name: int(value) if value.isdecimal() else value for name, value in said.items()}
        step, replicas, ranks = known.pop("step"), known.pop("replicas"), known.pop("ranks", 1)
        self._job = Told(replicas, ranks, **known)
        self._job.go_on()
        if step:
            self._job.resume_at(max(0, step - 2))
            self._job.train_to(step)
        self._job.told = []

    def level(self, which: str, *how: str) -> None:
        if which != "2":
            raise ValueError(f"level {which} is what there is without a word")
        self._job.survive(on_demand=how == ("on", "demand"))
        self._first = {member: pod.trainer.incarnation for member, pod in self._job.pods.items() if pod.trainer}

    def survived(self, *members: str) -> None:
        for member in map(MemberId.parse, members):
            trainer = self._job.pods[member].trainer
            assert trainer is not None
            assert trainer.incarnation == self._first[member], f"{member} was started again"

    def trainer(self, member: str, *what: str) -> None:
        job = self._job
        happens: dict[str, Callable[[MemberId], object]] = {
            "killed": job.kill_trainer,
            "killed before commit": job.lose_before_commit,
            "counts steps": job.count_steps,
            "raises": lambda each: job.kill_trainer(each, None, 1),
            "stopped": job.stop_trainer,
            "goes on": lambda each: job.stop_trainer(each, stopped=False),
            "done": job.finish,
        }
        happens[" ".join(what)](MemberId.parse(member))

    def agent(self, member: str, what: str) -> None:
        pod = self._job.pods[MemberId.parse(member)]
        if what == "killed":
            self._job.kill_agent(pod.member)
        pod.silent = what == "silent"

    def pod(self, member: str, what: str) -> None:
        place = MemberId.parse(member)
        if what == "gone":
            self._gone[place] = self._job.pods.pop(place)
        elif what == "drained":
            self._job.pods[place].terminating = True
        else:
            self._job.replace_pod(place)

    def replicas(self, number: str) -> None:
        self._job.scale(int(number))

    def fallback(self, which: str) -> None:
        self._job.fall_back_by(which)

    def slot(self, member: str, what: str, step: str = "") -> None:
        arena = self._job.pods[MemberId.parse(member)].arena
        for index, held in list(arena.slots.items()):
            if step not in ("", str(held.step)):
                continue
            if what == "lost":
                del arena.slots[index]
            else:
                held.words, held.digested = f"damaged {held.words}", False

    def private(self, member: str, what: str) -> None:
        if what != "lost":
            raise ValueError(f"a private part can only be lost, not {what}")
        self._job.forget_private_parts(MemberId.parse(member))

    def transfers(self, what: str) -> None:
        self._job.transfers_finish, self._job.transfers_succeed = what != "held", what != "fail"

    def operator(self, *what: str) -> None:
        self._job.restart_operator(with_records="without" not in what)

    def seconds(self, number: str) -> None:
        self._job.now += float(number)

    def train(self, number: str) -> None:
        self._job.train_to(max(self._job.steps) + int(number))

    def on(self) -> None:
        self._job.go_on()

    def rounds(self, number: str) -> None:
        for _ in range(int(number)):
            self._job.go_round()

    def all(self, *what: str) -> None:
        assert self._job.is_training, f"not everybody trains: {self._job.decisions[-1].message}"
        assert self._job.steps == {int(what[-1])}


COMMANDS: dict[str, Callable[..., None]] = {
    name: method for name, method in vars(Scenario).items() if not name.startswith("_") and name != "play"
}


@pytest.mark.parametrize("path", sorted(HERE.glob("*.txt")), ids=lambda path: path.stem.replace("-", " "))
def test_an_incident_leads_to_these_decisions(path: Path) -> None:
    written = path.read_text()
    played = Scenario().play(written)
    if REWRITE:
        path.write_text(played)
    assert played == written or REWRITE


def test_a_decision_that_is_not_made_is_noticed() -> None:
    text = "job replicas=2 step=5\ntrainer 1/0 killed\non\n"
    played = Scenario().play(text)
    assert played != text
    assert Scenario().play(played.replace("(TrainerGone)", "(PodLost)")) == played
