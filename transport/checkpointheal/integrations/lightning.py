"""How does a Lightning Trainer go on where its job was, weights, optimizers, schedules, loops, streams and data alike?

It restores by reading a checkpoint and in no other way, so that is what it is given: by a CheckpointIO, out of memory.
A callback commits what `save_checkpoint` would write, where the loops can be taken up again. Must not know agents or
arenas.
"""

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist

from checkpointheal.errors import Misuse
from checkpointheal.integrations.absent import without
from checkpointheal.integrations.lightning_checkpoint import Own, Shared, whole
from checkpointheal.integrations.lightning_commits import Commits
from checkpointheal.integrations.lightning_loops import Loops
from checkpointheal.trainer import Heal, attach
from checkpointheal.trainer.later import Later
from checkpointheal.trainer.signals import Number
from checkpointheal.trainer.streams import as_restored, put_back

try:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.plugins.io import CheckpointIO
    from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
except ModuleNotFoundError as error:
    raise without(error, "healing a Lightning Trainer", "lightning") from error

_FROM_MEMORY = "checkpointheal"
"""What stands for a path."""
_OWN = ("lightning",)


def restore(
    budget: float | None = None,
    *,
    private: Mapping[str, Any] | None = None,
    private_limit: int = 1 << 20,
    **replicated: Any,
) -> "Healed":
    """Wait for a state, before anything joins the process group: the first thing a script does.

    What a Lightning checkpoint holds need not be named; `replicated` and `private` are parts besides it, as for
    `checkpointheal.attach`. Raises Misuse, and what `Heal.restore` raises.
    """
    if dist.is_initialized():
        raise Misuse("the process group is there already: call restore() first, fit() joins it")
    if taken := sorted({*_OWN} & ({*replicated} | {*(private or {})})):
        raise Misuse(f"{taken[0]} is the name of the Trainer's own part: choose another")
    return Healed(budget, private or {}, private_limit, replicated)


class Healed:
    """What `restore()` gave to this process. `step` is None where the Trainer starts as it would without us."""

    def __init__(
        self, budget: float | None, private: Mapping[str, Any], private_limit: int, replicated: Mapping[str, Any]
    ) -> None:
        self._shared, self._own = Later(), Own()
        self.heal: Heal = attach(
            private={"lightning": self._own, **private},
            private_limit=private_limit,
            lightning=self._shared,
            **replicated,
        )
        self.step: int | None = self.heal.restore(budget)
        self._streams = as_restored() if self._own.restored else None
        self._has_trained = False

    def fit(
        self, trainer: Trainer, model: LightningModule, *loaders: Any, ckpt_path: Any = None, **options: Any
    ) -> None:
        """`trainer.fit()`, from where memory is; from your checkpoint where it has nothing.

        Raises Misuse where something could not be taken up again, RestoreDisagrees as `Heal.agree` does,
        AppliedStateDiffers where the Trainer loaded another state than it was given.
        """
        _require_fit(trainer)
        if self._has_trained:
            raise Misuse("this process has trained already: one fit() for each restore()")
        self._has_trained = True
        if self.step is not None:
            restored = whole(self._shared.held, self._own.restored)
            trainer.strategy.checkpoint_io = _FromMemory(restored, trainer.strategy.checkpoint_io)
            ckpt_path = _FROM_MEMORY
        commits = Commits(self)
        trainer.callbacks.append(commits)
        try:
            trainer.fit(model, *loaders, ckpt_path=ckpt_path, **options)
        finally:
            commits.leave(trainer)
        self.heal.done()

    def agree(self) -> None:
        """All ranks have joined."""
        self.heal.agree()

    def become(self, trainer: Trainer) -> None:
        """The Trainer has made its objects, and loaded what was restored: the last that is missing is put back."""
        checkpoint = Shared(trainer)
        self._shared.become(checkpoint)
        restored, loops = self._own.restored, Loops(trainer)
        if self._streams is not None:
            loops.load(restored["loops"], restored["at"], restored.get("generators", ()))
            put_back(self._streams)
            loops.draw_as_iterators_do(restored["at"])
        self._own.become(checkpoint)

    def commit(self, step: int, at: str, loss: Number | None) -> None:
        """An update and all that follows it is over."""
        self._own.at = at
        self.heal.commit(step, loss=loss)


class _FromMemory(CheckpointIO):  # type: ignore[misc]  # lightning is absent where types are checked
    """Reads what was restored, once; everything else is the user's own CheckpointIO's."""

    def __init__(self, restored: dict[str, Any], others: CheckpointIO) -> None:
        self._restored, self._others = restored, others

    def load_checkpoint(self, path: Any, *more: Any, **options: Any) -> Any:
        """From memory where `path` says so."""
        if path != _FROM_MEMORY:
            return self._others.load_checkpoint(path, *more, **options)
        restored, self._restored = self._restored, {}
        return restored

    def save_checkpoint(self, checkpoint: Any, path: Any, *more: Any, **options: Any) -> None:
        """The user's own."""
        self._others.save_checkpoint(checkpoint, path, *more, **options)

    def remove_checkpoint(self, path: Any) -> None:
        """The user's own."""
        self._others.remove_checkpoint(path)

    def teardown(self) -> None:
        """The user's own."""
        self._others.teardown()


def _require_fit(trainer: Trainer) -> None:
    """Raises Misuse that names the argument."""
    if not isinstance(trainer, Trainer):
        raise Misuse(f"fit() takes a lightning.pytorch.Trainer, and was given a {type(trainer).__name__}")
    if not isinstance(trainer.strategy, DDPStrategy | SingleDeviceStrategy):
        raise Misuse(
            f"Trainer(strategy=) is {type(trainer.strategy).__name__}, which saves and loads by code of its own: only "
            "DDP and a single device are healed by this adapter"
        )
    if trainer.reload_dataloaders_every_n_epochs:
        raise Misuse("Trainer has reload_dataloaders_every_n_epochs=: the position in a loader made anew is not known")
