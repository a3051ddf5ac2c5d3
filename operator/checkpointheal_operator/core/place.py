"""Who holds one place of a job, and what does the agent there say of itself and its trainer?

Must not know the other places.
"""

from dataclasses import dataclass

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.orders import Peer
from checkpointheal.contract.report import AgentReport, TrainerFacts
from checkpointheal_operator.core.facts import Heard, PodFacts


@dataclass(frozen=True)
class Place:
    """One place in the job and who claims it: one pod holds it, others are fenced."""

    member: MemberId
    pod: PodFacts | None = None
    others: tuple[PodFacts, ...] = ()
    heard: Heard | None = None
    fresh: bool = False
    was_done: bool = False
    """Nobody holds it any more, and who held it last was done."""
    leaves: bool = False
    """Its pod is on its way out, and of the run before: in this one its place is not filled yet."""

    @property
    def report(self) -> AgentReport | None:
        """What the agent of the pod that holds the place last said."""
        return self.heard.report if self.heard else None

    @property
    def rivals(self) -> tuple[PodFacts, ...]:
        """The others that are not on their way out: somebody gives one place to several."""
        return tuple(each for each in self.others if each.is_at_work)

    @property
    def is_done(self) -> bool:
        """Training is over for this member; nobody waits for it any more.

        It said so, or ended with code 0: then `run` does not start it again.
        """
        if self.leaves:
            return False
        if self.was_done or (self.pod is not None and self.pod.finished):
            return True
        return self.report is not None and has_finished(self.report.trainer)

    @property
    def is_waiting(self) -> bool:
        """Its trainer is in restore() and can be answered: by its name, for an answer is for one life of it."""
        ours = self.pod is not None and not self.pod.terminating and self.fresh and not self.is_done
        if not ours or self.report is None:
            return False
        return self.report.trainer.state == "waiting" and self.report.trainer.incarnation is not None

    @property
    def trains(self) -> bool:
        """Its trainer has its state and may change it, though it may stand still."""
        return self.fresh and self.report is not None and self.report.trainer.state in ("training", "stopped")

    @property
    def can_give(self) -> bool:
        """Whether its memory will still be there in a moment and its agent answers."""
        return self.pod is not None and not self.pod.terminating and self.fresh

    @property
    def peer(self) -> Peer | None:
        """How an order names it; None while nobody knows where its agent listens."""
        if self.pod is None or self.report is None:
            return None
        return Peer(member=self.member, pod=self.pod.name, pod_uid=self.pod.uid, endpoint=self.report.endpoint)


def has_finished(trainer: TrainerFacts) -> bool:
    """It said that it is done, or its latest life ended without an error."""
    if trainer.state == "absent" and trainer.exit is not None:
        return trainer.exit.code == 0 and trainer.exit.incarnation == trainer.incarnation
    return trainer.state == "done"
