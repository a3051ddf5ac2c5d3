"""How does a Hugging Face Trainer go on where its job was, weights, optimizer, schedule, streams and data alike?

It restores by reading a checkpoint directory and in no other way: a callback comes too late for the data position. So
what memory gave is written as one, which `train()` is told to resume from; a callback commits. Must not know agents or
arenas.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist

from checkpointheal.errors import Misuse
from checkpointheal.integrations.absent import without
from checkpointheal.integrations.halves import halves
from checkpointheal.integrations.orders import REMEDY, drawn_anew
from checkpointheal.integrations.transformers_folder import Restored, clear, new, write
from checkpointheal.integrations.transformers_own import Own
from checkpointheal.manifest import pack
from checkpointheal.trainer import Heal, attach
from checkpointheal.trainer.later import Later
from checkpointheal.trainer.settings import TrainerSettings
from checkpointheal.trainer.streams import as_restored, capture

try:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ModuleNotFoundError as error:
    raise without(error, "healing a Hugging Face Trainer", "'transformers[torch]'") from error

log = logging.getLogger("checkpointheal")

LOOKS = 3
"""Steps at whose ends it is looked whether loading data draws from the streams."""
_OWN = ("model", "optimizer", "scheduler", "scaler")


def restore(
    budget: float | None = None,
    *,
    private: Mapping[str, Any] | None = None,
    private_limit: int = 1 << 20,
    **replicated: Any,
) -> "Healed":
    """Wait for a state, before `TrainingArguments()`, which joins the process group: the first thing a script does.

    Model, optimizer, scheduler, scaler and the Trainer's own state need not be named; `replicated` and `private` are
    parts besides these, as for `checkpointheal.attach`. Raises Misuse, and what `Heal.restore` raises.
    """
    if dist.is_initialized():
        raise Misuse("the process group is there already: call restore() before TrainingArguments(), which joins it")
    if taken := sorted(({*_OWN} & {*replicated}) | ({"trainer", "buffers"} & {*(private or {})})):
        raise Misuse(f"{taken[0]} is the Trainer's own part: leave it out")
    return Healed(budget, private or {}, private_limit, replicated)


class Healed:
    """What `restore()` gave to this process. `step` is None where the Trainer starts as it would without us."""

    def __init__(
        self, budget: float | None, private: Mapping[str, Any], private_limit: int, replicated: Mapping[str, Any]
    ) -> None:
        self._parts = {name: Later() for name in _OWN}
        self._buffers, self._own = Later(), Own(private_limit // 2)
        parts: dict[str, Any] = {**self._parts, **replicated}
        self.heal: Heal = attach(
            private={"trainer": self._own, "buffers": self._buffers, **private},
            private_limit=private_limit,
            **parts,
        )
        self.step: int | None = self.heal.restore(budget)
        self._streams = as_restored() if self._own.restored else None
        self._has_trained = False
        settings = TrainerSettings.from_environment(os.environ)
        self._place = f"{settings.job} {settings.member}"
        self._folder: Path | None = None

    def train(self, trainer: Trainer, resume_from_checkpoint: str | bool | None = None, **options: Any) -> Any:
        """`trainer.train()`, from where memory is; from your checkpoint where it has nothing. Returns what that does.

        Raises Misuse where the Trainer is told what cannot come back, RestoreDisagrees as `Heal.agree` does,
        AppliedStateDiffers where the Trainer loaded another state than it was given.
        """
        _require_fit(trainer)
        if self._has_trained:
            raise Misuse("this process has trained already: one train() for each restore()")
        self._has_trained = True
        self.heal.agree()
        clear(self._place)
        if self.step is not None:
            resume_from_checkpoint = str(self._write(self.step))
        try:
            with _committed(_Commits(self, trainer), trainer), _as_it_went_on(trainer, self.step):
                output = trainer.train(resume_from_checkpoint=resume_from_checkpoint, **options)
        finally:
            self.forget()
        self.heal.done()
        return output

    def forget(self) -> None:
        """The Trainer has read all of the directory."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _write(self, step: int) -> Path:
        held = {name: part.held for name, part in self._parts.items()}
        held["model"] = {**held["model"], **self._buffers.held}
        restored = Restored(step=step, state=self._own.restored.get("state", ""), streams=self._streams, **held)
        self._folder = new(self._place)
        write(restored, self._folder, dist.get_rank() if dist.is_initialized() else None)
        return self._folder

    def become(self, trainer: Trainer) -> None:
        """The Trainer has made its objects, and loaded what was restored."""
        shared, own = halves(trainer.model)
        self._parts["model"].become(shared)
        self._buffers.become(own)
        self._parts["optimizer"].become(trainer.optimizer)
        self._parts["scheduler"].become(trainer.lr_scheduler)
        if (scaler := getattr(trainer.accelerator, "scaler", None)) is not None:
            self._parts["scaler"].become(scaler)
        self._own.become(trainer)


@contextmanager
def _committed(commits: "_Commits", trainer: Trainer) -> Iterator[None]:
    """A later `train()` of this Trainer is no part of the job."""
    first = _First(commits)
    trainer.callback_handler.callbacks.insert(0, first)
    trainer.add_callback(commits)
    try:
        yield
    finally:
        trainer.remove_callback(first)
        trainer.remove_callback(commits)


@contextmanager
def _as_it_went_on(trainer: Trainer, step: int | None) -> Iterator[None]:
    """A run that was healed does not start again: its evaluation of the start would count once more."""
    args, told = trainer.args, trainer.args.eval_on_start
    args.eval_on_start = told and step is None
    try:
        yield
    finally:
        args.eval_on_start = told


class _Commits(TrainerCallback):  # type: ignore[misc]  # transformers is absent where types are checked
    """Commits where the Trainer itself would resume: all that follows an update is over, what follows is read anew.

    Within an epoch it puts the streams back after the next batches were loaded, so they are taken there; between two
    epochs, before.
    """

    def __init__(self, healed: Healed, trainer: Trainer) -> None:
        self._healed, self._trainer = healed, trainer
        self._looks, self._seen = LOOKS, b""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, train_dataloader: Any, **_: Any
    ) -> None:
        if drawn := drawn_anew(train_dataloader):
            raise Misuse(f"the Trainer's train dataloader has {drawn}, {REMEDY}")
        self._healed.become(self._trainer)

    def before_epoch(self, state: TrainerState) -> None:
        """No callback has begun it."""
        self._seen = b""
        self._commit(state)

    def before_step(self, state: TrainerState) -> None:
        """No callback has begun it, and its batches are loaded."""
        self._healed.forget()
        self._commit(state)
        if self._seen and pack(capture()) != self._seen:
            self._looks = 0
            log.warning(
                "checkpointheal: loading a batch draws from this process's random streams: after a heal, the first "
                "batches will be drawn anew, so the run is restored but not identical"
            )
        self._seen = b""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._looks and not (control.should_log or control.should_evaluate or control.should_save):
            self._looks -= 1
            self._seen = pack(capture())

    def _commit(self, state: TrainerState) -> None:
        if state.global_step > 0:
            self._healed.heal.commit(state.global_step)


class _First(TrainerCallback):  # type: ignore[misc]
    """What begins is not begun for any callback yet: all of them begin it again after a heal."""

    def __init__(self, commits: _Commits) -> None:
        self._commits = commits

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._commits.before_epoch(state)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._commits.before_step(state)


def _require_fit(trainer: Trainer) -> None:
    """Raises Misuse that names the argument."""
    if not isinstance(trainer, Trainer):
        raise Misuse(f"train() takes a transformers.Trainer, and was given a {type(trainer).__name__}")
    args = trainer.args
    wrong = {
        "ignore_data_skip=True": args.ignore_data_skip and "the data position would not come back",
        "auto_find_batch_size=True": args.auto_find_batch_size and "a smaller batch would begin the run anew",
        "fsdp=, or its environment": (args.fsdp or trainer.is_fsdp_enabled)
        and "shards are saved and loaded by code of its own: not healed by this adapter yet",
        "deepspeed=, or its environment": (args.deepspeed or trainer.is_deepspeed_enabled)
        and "it saves and loads by code of its own: not healed by this adapter",
        "train_sampling_strategy='group_by_length'": getattr(args, "train_sampling_strategy", "") == "group_by_length"
        and "its order is drawn when an epoch begins, and cannot be drawn again within one",
        "accelerator_config's use_seedable_sampler=False": not args.accelerator_config.use_seedable_sampler
        and "the order of an epoch is then drawn when it begins, and cannot be drawn again within one",
    }
    for name, why in wrong.items():
        if why:
            raise Misuse(f"TrainingArguments has {name}: {why}")
