"""When does a Lightning Trainer commit?

Behind all that follows an update. Lightning calls every callback's hook before the module's own, so callbacks alone
come too early. Must not know what is committed.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from torch import Tensor

from checkpointheal.integrations.absent import without
from checkpointheal.integrations.lightning_averages import require_one_average
from checkpointheal.integrations.lightning_loops import AT_EPOCH, Loops, require_resumable
from checkpointheal.trainer.mistaken import require_whole
from checkpointheal.trainer.signals import Number

try:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import Callback, Checkpoint
except ModuleNotFoundError as error:
    raise without(error, "healing a Lightning Trainer", "lightning") from error


class Committing(Protocol):
    """Whom it tells."""

    def agree(self) -> None:
        """All ranks have joined."""

    def become(self, trainer: Any) -> None:
        """The Trainer has made its objects, and loaded what it was given."""

    def commit(self, step: int, at: str, loss: Number | None) -> None:
        """An update and all that follows it is over."""


class Commits(Checkpoint):  # type: ignore[misc]  # lightning is absent where types are checked
    """Once per update, behind everything that follows it: a validation, the end of an epoch, the module's hooks."""

    def __init__(self, told: Committing) -> None:
        self._told, self._first = told, _First(self)
        self._loss: Number | None = None
        self._hooks = ExitStack()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the first place and the last.

        Callbacks of `configure_callbacks()` have come behind. The list that is gone through now stays as it is.
        """
        trainer.callbacks = [self._first, *(each for each in trainer.callbacks if each is not self), self]
        self._told.agree()

    def leave(self, trainer: Trainer) -> None:
        """A later `validate()` of this Trainer is no part of the job."""
        trainer.callbacks = [each for each in trainer.callbacks if each not in (self, self._first)]
        self._hooks.close()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """All that a Trainer loads is loaded."""
        require_one_average(trainer)
        require_resumable(trainer)
        for each in trainer.optimizers:
            require_whole("the Trainer's optimizer", each)
        self._told.become(trainer)
        ends: dict[str, Callable[..., None]] = {
            "on_train_batch_end": functools.partial(self._batch_end, trainer),
            "on_validation_end": functools.partial(self._validation_end, trainer),
        }
        for name, then in ends.items():
            self._hooks.enter_context(_behind(pl_module, name, then))

    def _batch_end(self, trainer: Trainer, outputs: Any, *_: Any) -> None:
        self._loss = _loss(outputs)
        if not Loops(trainer).something_follows():
            self.commit(trainer, "batch")

    def _validation_end(self, trainer: Trainer) -> None:
        if not Loops(trainer).is_last_batch():
            self.commit(trainer, "validation")

    def commit(self, trainer: Trainer, at: str) -> None:
        """Here it could be taken up again."""
        if trainer.global_step > 0:
            self._told.commit(trainer.global_step, at, self._loss)


class _First(Callback):  # type: ignore[misc]
    """Commits before an epoch begins for any callback: all of them begin it again after a heal."""

    def __init__(self, commits: Commits) -> None:
        self._commits = commits

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._commits.commit(trainer, AT_EPOCH)


@contextmanager
def _behind(module: LightningModule, name: str, then: Callable[..., None]) -> Iterator[None]:
    """Meanwhile the module's own hook of this name is followed by `then`, which is given the same."""
    hook, own = getattr(module, name), vars(module).get(name)

    @functools.wraps(hook)
    def both(*given: Any) -> None:
        hook(*given)
        then(*given)

    setattr(module, name, both)
    try:
        yield
    finally:
        delattr(module, name)
        if own is not None:
            setattr(module, name, own)


def _loss(outputs: Any) -> Number | None:
    """What `training_step` returned as one; manual optimization returns what it likes."""
    found = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    return found if isinstance(found, float | Tensor) else None
