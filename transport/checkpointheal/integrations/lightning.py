"""How does a Lightning Trainer go on where its job was, weights, optimizers, schedules, loops, streams and data alike?

It restores by reading a checkpoint and in no other way, so that is what it is given: by a CheckpointIO, out of memory.
A callback commits what `save_checkpoint` would write, where the loops can be taken up again. Must not know agents or
arenas.
"""

from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from torch import Tensor

from checkpointheal.errors import Misuse
from checkpointheal.integrations.absent import without
from checkpointheal.integrations.halves import halves
from checkpointheal.integrations.lightning_loops import AT_EPOCH, Loops, require_resumable
from checkpointheal.trainer import Heal, attach
from checkpointheal.trainer.later import Later
from checkpointheal.trainer.signals import Number
from checkpointheal.trainer.streams import as_restored, put_back

try:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import Checkpoint
    from lightning.pytorch.plugins.io import CheckpointIO
    from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
except ModuleNotFoundError as error:
    raise without(error, "healing a Lightning Trainer", "lightning") from error

_FROM_MEMORY = "checkpointheal"
"""What stands for a path."""
_SHARED = ("state_dict", "optimizer_states", "lr_schedulers")
_LEFT_OUT = (
    "hparams_name",
    "hyper_parameters",
    "hparams_type",
    "datamodule_hparams_name",
    "datamodule_hyper_parameters",
)
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
        self._shared, self._own = Later(), _Own()
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
        commits = _Commits(self)
        trainer.callbacks.append(commits)  # behind all others, whose state is then that of the same step
        if self.step is not None:
            trainer.strategy.checkpoint_io = _FromMemory(self._checkpoint(), trainer.strategy.checkpoint_io)
            ckpt_path = _FROM_MEMORY
        try:
            trainer.fit(model, *loaders, ckpt_path=ckpt_path, **options)
        finally:  # a later validate() of this Trainer is no part of the job
            trainer.callbacks.remove(commits)
        self.heal.done()

    def _checkpoint(self) -> dict[str, Any]:
        if not self._own.restored:
            raise Misuse(
                "this rank's own part of the state is nowhere, and a Lightning Trainer cannot go on without its loops: "
                "start the job from your checkpoint"
            )
        own, shared = dict(self._own.restored), dict(self._shared.held)
        shared["state_dict"] = {**shared["state_dict"], **own.pop("buffers")}
        own.pop("at")
        return {**shared, **own}

    def become(self, trainer: Trainer) -> None:
        """The Trainer has made its objects, and loaded what was restored: the last that is missing is put back."""
        checkpoint = _Checkpoint(trainer)
        self._shared.become(checkpoint)
        at = self._own.restored.get("at", "")
        loops = Loops(trainer)
        if self._streams is not None:
            loops.load(self._own.restored["loops"], at)
            put_back(self._streams)
            if at == AT_EPOCH:
                loops.draw_as_iterators_do()
        self._own.become(checkpoint)


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


class _Checkpoint:
    """What `trainer.save_checkpoint()` would write, as a part: what peers have too."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self._model, self._buffers = halves(trainer.lightning_module)

    def dump(self) -> dict[str, Any]:
        """All of it."""
        dumped: dict[str, Any] = self.trainer._checkpoint_connector.dump_checkpoint(weights_only=False)  # noqa: SLF001
        return {name: each for name, each in dumped.items() if name not in _LEFT_OUT}

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizers, schedules."""
        strategy = self.trainer.strategy
        return {
            "state_dict": dict(self._model.state_dict()),
            "optimizer_states": [strategy.optimizer_state(each) for each in self.trainer.optimizers],
            "lr_schedulers": [each.scheduler.state_dict() for each in self.trainer.lr_scheduler_configs],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Never: a Trainer loads at its start only."""
        raise Misuse("a Lightning Trainer is restored once, before fit()")

    def of_this_rank(self) -> dict[str, Any]:
        """The rest: loops, data position, callbacks, scaler, whatever hooks add; and per-rank buffers."""
        rest = {name: each for name, each in self.dump().items() if name not in _SHARED}
        return {**rest, "buffers": dict(self._buffers.state_dict())}


class _Own:
    """This rank's part of it, and where in the loops it was taken."""

    bound_to_step = True
    """Its loops count updates."""

    def __init__(self) -> None:
        self.restored: Mapping[str, Any] = {}
        self.at = ""
        self._checkpoint: _Checkpoint | None = None

    def state_dict(self) -> dict[str, Any]:
        """As the Trainer has it now."""
        if self._checkpoint is None:
            return dict(self.restored)
        state = self._checkpoint.of_this_rank()
        if self.at == AT_EPOCH:
            state["loops"] = Loops.at_epoch(state["loops"])
        return {**state, "at": self.at}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Kept for the Trainer that is to come."""
        self.restored = state_dict

    def become(self, checkpoint: _Checkpoint) -> None:
        """The Trainer is there."""
        self._checkpoint, self.restored = checkpoint, {}


class _Commits(Checkpoint):  # type: ignore[misc]
    """Commits once per update, behind everything that follows it: a validation, the end of an epoch."""

    def __init__(self, healed: Healed) -> None:
        self._healed = healed
        self._loss: Number | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._healed.heal.agree()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        require_resumable(trainer)
        self._healed.become(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._commit(trainer, AT_EPOCH)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        self._loss = _loss(outputs)
        if not Loops(trainer).something_follows():
            self._commit(trainer, "batch")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and not Loops(trainer).is_last_batch():
            self._commit(trainer, "validation")

    def _commit(self, trainer: Trainer, at: str) -> None:
        if trainer.global_step > 0:
            self._healed._own.at = at  # noqa: SLF001 of this module
            self._healed.heal.commit(trainer.global_step, loss=self._loss)


def _loss(outputs: Any) -> Number | None:
    """What `training_step` returned as one; manual optimization returns what it likes."""
    found = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return found if isinstance(found, float | Tensor) else None


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
