"""What is the trainer told, and its `run`?

One method for each word; what has been told is kept where it is asked for. Must not know when a word is due: that is
`duties`' answer.
"""

from checkpointheal.agent.duties import Answer, ExplainWait, KillTrainer
from checkpointheal.agent.trainer_door import TrainerDoor
from checkpointheal.agent.trainer_seen import TrainerSeen
from checkpointheal.contract import trainer as words
from checkpointheal.contract.orders import EpochOrder
from checkpointheal.contract.report import Flaw


class TrainerTold:
    """The agent's side of the conversation. Nothing is said to a trainer that is not there."""

    def __init__(self, door: TrainerDoor, seen: TrainerSeen) -> None:
        self._door, self._seen = door, seen
        self.explained: ExplainWait | None = None
        """What it heard last about why it waits."""

    def answer(self, duty: Answer) -> None:
        """With what it goes on."""
        order = duty.order
        self._say(
            words.Restored(
                request=self._seen.waiting_request,
                epoch=order.epoch,
                step=order.step,
                highest=order.highest,
                rung=order.rung,
                slot=duty.slot,
                state_digest=duty.identity.state_digest if duty.identity else None,
                private_begins=order.private_begins,
                private_step=order.private_step,
                rendezvous=True,
                members=order.members,
                left_out=len(order.left_out),
                place=order.place,
                word_within=order.word_within,
                reason=order.reason,
                message=order.message,
            )
        )

    def explain(self, duty: ExplainWait) -> None:
        """Why there is no answer yet."""
        request = self._seen.waiting_request
        if self._say(words.Waiting(request=request, reason=duty.reason, message=duty.message, hold=duty.hold)):
            self.explained = duty

    def end(self, order: EpochOrder) -> None:
        """Its epoch is over."""
        self._seen.told_over = order.epoch
        self._say(
            words.EpochOver(epoch=order.epoch, reason=order.reason, message=order.message, deadline=order.deadline)
        )

    def let_leave(self, order: EpochOrder) -> None:
        """Its epoch is to be left at a commit."""
        self._seen.told_to_leave = order.epoch
        self._say(words.LeaveEpoch(epoch=order.epoch, reason=order.reason, message=order.message))

    def kill(self, duty: KillTrainer) -> None:
        """To `run`: the trainer stands still."""
        self._door.say("run", words.EndTrainer(incarnation=duty.incarnation, reason=duty.reason))

    def slots(self, refusal: Flaw | None) -> None:
        """Whether it has the slots that it asked for, and else why not."""
        if refusal is None:
            self._say(words.Reserved(protocol=words.TRAINER_PROTOCOL))
        else:
            self._say(words.Refused(reason=refusal.reason, message=refusal.message, protocol=words.TRAINER_PROTOCOL))

    def private_kept(self, step: int, buddies: int) -> None:
        """How many buddies have its private part of a step."""
        self._say(words.PrivateKept(step=step, buddies=buddies))

    def of_store(self, said: words.StoreSaid) -> None:
        """What the rendezvous answers it."""
        self._say(said)

    def _say(self, message: words.AgentSays) -> bool:
        return self._door.say("trainer", message)
