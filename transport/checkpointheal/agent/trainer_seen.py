"""What does the agent know of its trainer, and how does each word of it change that?

One fact model, replaced as a whole. That a trainer stands still is `run`'s to say, and true until `run` says otherwise:
what the trainer said before that may be read afterwards. Must not know sockets, the arena or the operator.
"""

from typing import Literal

from checkpointheal.agent.remembered import Remembered
from checkpointheal.contract.report import TrainerExit, TrainerFacts
from checkpointheal.contract.trainer import Applied, Done, Exited, Hello, Rejoined, TrainerSays, Wait, Withdraw

State = Literal["absent", "starting", "waiting", "training", "done"]
"""By its own words."""


class TrainerSeen:
    """The trainer's side of the report, kept current word by word."""

    def __init__(self, remembered: Remembered) -> None:
        self._remembered = remembered
        self.facts = TrainerFacts(request=remembered.numbers.request)
        self.told_over = 0
        self.told_to_leave = 0
        self.held = False
        """It says that it waits for as long as it takes."""
        self.build = ""
        self.behind = True
        """It can begin with an earlier private part, or has not come yet to say."""
        self._waits: tuple[str, int] = ("", 0)
        self._state: State = "absent"
        self._stands_still = False

    @property
    def waiting_request(self) -> int:
        """The trainer's own number of the call that waits."""
        return self._waits[1]

    def hear(self, hello: Hello, said: TrainerSays) -> None:
        """Take one word over. Words about slots and private parts change nothing here."""
        match said:
            case Hello(role="trainer"):
                self._live(said.incarnation)
                self.told_over = self.told_to_leave = 0  # what was said on a connection that broke may not have come
                self.build, self.behind = said.build, said.behind
                self._set(state="training" if said.epoch else "starting", epoch=said.epoch or self.facts.epoch)
            case Hello():  # behind it `run` says whether a trainer stands still
                self._still(False)
            case Wait():
                self.held = said.held
                self._wait(hello.incarnation, said.request)
                self._set(goes_on=said.goes_on)
            case Withdraw() if said.request == self.waiting_request and self._state == "waiting":
                self._set(state="starting")
            case Applied():
                self._set(
                    state="training",
                    epoch=said.epoch,
                    applied_seconds=said.seconds,
                    applied_digest=said.digest,
                    rejoined_seconds=None,
                )
            case Rejoined():
                self._set(rejoined_seconds=said.seconds)
            case Done():
                self._set(state="done")
            case Exited():
                self._exited(said)
            case _:
                pass

    def leave(self, hello: Hello) -> None:
        """The trainer's connection is gone; a trainer that was done stays done."""
        if hello.role == "trainer" and hello.incarnation == self.facts.incarnation and self._state != "done":
            self._is_gone()

    def _wait(self, incarnation: str, request: int) -> None:
        if (incarnation, request) != self._waits:
            number = self._remembered.grow(request=self._remembered.numbers.request + 1).request
            self._waits = (incarnation, request)  # not before: where no number can be kept, it has not asked yet
            # In no epoch while it waits: what becomes of it now is not what it was told of the one that it has left.
            self._set(request=number, epoch=0, applied_seconds=None, applied_digest=None, rejoined_seconds=None)
        self._set(state="waiting", incarnation=incarnation)

    def _exited(self, said: Exited) -> None:
        if said.stopped:
            self._stopped(said.incarnation)
        elif said.code is None and said.signal is None:
            self._still(False)
        else:
            told = self.told_over >= self.facts.epoch > 0
            ended = TrainerExit(
                incarnation=said.incarnation, epoch=self.facts.epoch, code=said.code, signal=said.signal, told=told
            )
            self._set(exit=ended)
            if said.incarnation == self.facts.incarnation and self._state != "done":
                self._is_gone()

    def _stopped(self, incarnation: str) -> None:
        """It may stand still before it has said a word here: who restarts it must name this life of it."""
        if self._state != "done":
            self._live(incarnation)
            self._still(True)

    def _still(self, stands_still: bool) -> None:
        self._stands_still = stands_still
        self._set(state=self._state)

    def _is_gone(self) -> None:
        self._stands_still = False
        self._set(state="absent")

    def _live(self, incarnation: str) -> None:
        """A new life is in no epoch yet, and has been told nothing."""
        if incarnation != self.facts.incarnation:
            self.told_over = self.told_to_leave = 0
            self._stands_still = False
            self._set(incarnation=incarnation, epoch=0)

    def _set(self, state: State | None = None, **changes: object) -> None:
        self._state = state or self._state
        seen = "stopped" if self._stands_still and self._state != "done" else self._state
        self.facts = self.facts.but(state=seen, **changes)
