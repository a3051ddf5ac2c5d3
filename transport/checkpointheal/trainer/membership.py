"""What does a survivor do between two epochs, and a member that comes back before its first?

Empties the groups, mends the wrappers, drops gradients; once it holds what it was answered, meets the others, compares
with them, and at a fresh start takes the first replica's tensors. Must not know the arena.
"""

import logging
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist

from checkpointheal import errors
from checkpointheal.contract.trainer import EpochOver, LeaveEpoch, Restored
from checkpointheal.errors import AgentGone, PeersDone, RestoreDisagrees
from checkpointheal.manifest import describe
from checkpointheal.trainer import devices
from checkpointheal.trainer.agent_store import AgentStore
from checkpointheal.trainer.agreement import Standing, agree_by_coordinate, schema_digest
from checkpointheal.trainer.epoch import Epoch
from checkpointheal.trainer.groups import Groups
from checkpointheal.trainer.line import Line
from checkpointheal.trainer.mending import mend, require_survivable
from checkpointheal.trainer.modes import Modes
from checkpointheal.trainer.parts import Parts, parameters_of
from checkpointheal.trainer.updates import before_updates

log = logging.getLogger("checkpointheal")


class Membership:
    """One trainer among the others, epoch after epoch. `coordinate`: which part of the state it holds."""

    def __init__(self, parts: Parts, line: Line, groups: Groups, coordinate: int) -> None:
        self._parts, self._line, self._groups, self._coordinate = parts, line, groups, coordinate
        self.modes = Modes(parts.modules.values())
        self._epoch: Epoch | None = None
        self.has_updated = False
        """Whether an update was made in this process, kept or not."""
        self._is_recorded = False
        before_updates(parts.optimizers.values(), self.may_step)

    @property
    def epoch(self) -> Epoch | None:
        """The one that this trainer is in."""
        return self._epoch

    def may_step(self, *, updates: bool = True) -> None:
        """Raise EpochOver where the gradients at hand may be worth nothing. On a device: once they are there.

        `updates`: an update follows, else a commit of one that was let through, which the word alone does not spoil.
        """
        if (epoch := self._epoch) is not None:
            if devices.are_in_use():
                self._see_devices(epoch, self._updated(), updates=updates)
            epoch.require_whole()
            self.has_updated = True

    def enter(self, answer: Restored) -> Epoch:
        """The epoch of this answer: from now on its end is heard."""
        if not answer.rendezvous:
            raise AgentGone("this agent is older than heal.epochs(), and carries no rendezvous: update its image")
        self._groups.settle()
        self._epoch = Epoch(answer.epoch, self._groups.end, self._line.wake)
        self._epoch.word_within = answer.word_within
        self._epoch.members = answer.members or self._groups.size
        return self._epoch

    def end(self, told: EpochOver) -> None:
        """The agent says that an epoch is over."""
        if self._epoch is not None and self._epoch.number <= told.epoch:
            self._epoch.end(told)

    def leave_together(self) -> None:
        """Where members are left out: is any rank told that one is back? Then this step was the epoch's last one.

        A collective then, of one number; else nothing. What was lost in it ends the epoch in the usual way.
        """
        epoch = self._epoch
        if epoch is None or not epoch.left_out or epoch.faults.is_lost:
            return
        told = self._line.latest("leave_epoch")
        is_told = isinstance(told, LeaveEpoch) and told.epoch == epoch.number
        someone = torch.tensor([is_told], dtype=torch.uint8, device="cpu")
        dist.all_reduce(someone, dist.ReduceOp.MAX)
        if someone.item() and not epoch.faults.is_lost:
            epoch.recall()

    def drop_unfinished(self) -> None:
        """What a step that was not finished has left behind: gradients, and how far a scaler was with them."""
        for scaler in self._parts.scalers:
            # No state dict holds it; a scaler that has unscaled once would take the next gradients for unscaled, too.
            scaler._per_optimizer_states.clear()  # noqa: SLF001
        for optimizer in self._parts.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        for module in self._parts.modules.values():
            module.zero_grad(set_to_none=True)

    def meet(self, epoch: Epoch, answer: Restored) -> bool:
        """Fill the groups and compare with the others; False where the epoch ended before it began.

        Raises RestoreDisagrees, on all of them.
        """
        require_survivable(self._parts.modules.values())
        if answer.is_short_of(self._groups.size):
            epoch.faults.refusal = PeersDone(f"{answer.members} of {self._groups.size} members are left")
            self._groups.refuse(epoch.faults)
            return True
        store = AgentStore(self._line, epoch.number, lambda: epoch.is_over)
        try:
            present = self._present(store, answer)
            epoch.left_out = tuple(sorted({*range(self._groups.size)} - {*present}))
            self._groups.open(store, epoch.faults, present)
            self._compare(epoch, answer)
            self._groups.met()
        except (RuntimeError, errors.EpochOver, errors.RendezvousFailed) as error:
            first_line = str(error).partition("\n")[0]
            log.warning("checkpointheal: epoch %d did not come about: %s", epoch.number, first_line)
            return False
        epoch.finishes = _wait_for_all
        return not epoch.faults.is_lost

    def leave(self, epoch: Epoch) -> None:
        """Nothing of it is left: groups are empty, wrappers stand before a step."""
        self._groups.shut()
        mend(self._parts.modules.values())
        epoch.faults.is_left = True  # a wrapper that is mended waits for what it had begun
        epoch.leave()

    def finish(self, epoch: Epoch) -> None:
        """That was the last one: from now on the groups are as torch's, and an error is an error."""
        epoch.faults.swallows = False
        self._groups.unsettle()
        epoch.leave()

    def _see_devices(self, epoch: Epoch, written: Iterable[torch.Tensor], *, updates: bool) -> None:
        """Note it where a device of these went on behind an aborted collective: whoever waits there hears of no loss.

        A collective that is not over when the word comes is aborted, and that word comes first. So what was done before
        it is whole, and so is a state that no collective was asked for since an update was let through; but an update
        that a CUDA graph makes is let through before its own collectives.
        """
        faults = epoch.faults
        was_queued = faults.is_queued
        if devices.are_recorded():
            self._is_recorded = True
        else:
            faults.is_queued = False  # first: other threads may ask for more meanwhile
            devices.wait_for(written)
        if not (updates or was_queued or self._is_recorded):
            return
        if faults.over:
            faults.note(errors.EpochOver("a device went on behind an aborted collective"))
        elif self._groups.is_broken():
            faults.note(errors.EpochOver("a communicator of NCCL has failed, and the device went on behind it"))

    def _updated(self) -> Iterator[torch.Tensor]:
        for optimizer in self._parts.optimizers.values():
            yield from parameters_of(optimizer)

    def _present(self, store: AgentStore, answer: Restored) -> list[int]:
        """The world's ranks that are in the epoch. An operator knows places, not ranks: they tell each other theirs."""
        if not answer.left_out or answer.place is None:
            return list(range(self._groups.size))
        store.set(f"rank of {answer.place}", str(self._groups.rank))
        return sorted(int(store.get(f"rank of {place}")) for place in range(answer.members))

    def _compare(self, epoch: Epoch, answer: Restored) -> None:
        schema = schema_digest(describe(self._parts.replicated_state()).schema)
        try:
            coordinates = agree_by_coordinate(Standing(True, epoch.number, epoch.step, schema), self._coordinate)
        except RestoreDisagrees:
            epoch.require_whole()
            raise
        epoch.require_whole()
        if answer.step is None:
            self._spread(epoch, [rank for rank, each in enumerate(coordinates) if each == self._coordinate])

    def _spread(self, epoch: Epoch, peers: list[int]) -> None:
        """At a start that comes from nobody's memory all replicas begin with the first one's tensors, as under DDP."""
        if len(peers) == 1 or (inside := self._groups.between(f"begin/{self._coordinate}", peers)) is None:
            return
        options = dist.BroadcastOptions()
        options.rootRank, options.rootTensor = 0, 0
        regions = describe(self._parts.replicated_state()).regions
        for region in regions:
            inside.broadcast([region], options).wait()
        if devices.are_in_use():
            self._see_devices(epoch, regions, updates=True)
            epoch.require_whole()
        self._groups.part(inside)


def _wait_for_all() -> None:
    """Everybody has come to the end of its steps."""
    dist.barrier()
