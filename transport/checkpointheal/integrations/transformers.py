"""How does a Hugging Face Trainer go on where its job was, weights, optimizer, schedule, streams and data alike?

It restores by reading a checkpoint directory and in no other way: a callback comes too late for the data position. So
what memory gave is written as one, which `train()` is told to resume from; a callback commits. Must not know agents or
arenas.
"""

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch.distributed as dist

from checkpointheal.errors import Misuse
from checkpointheal.integrations.absent import without
from checkpointheal.integrations.halves import halves
from checkpointheal.integrations.transformers_folder import Restored, clear, new, write
from checkpointheal.manifest import pack
from checkpointheal.trainer import Heal, attach
from checkpointheal.trainer.later import Later
from checkpointheal.trainer.settings import TrainerSettings
from checkpointheal.trainer.streams import as_restored, capture

try:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import ExportableState
except ModuleNotFoundError as error:
    raise without(error, "healing a Hugging Face Trainer", "'transformers[torch]'") from error

log = logging.getLogger("checkpointheal")

LOGS_KEPT = 1000
"""Entries of `log_history` that come back, the newest ones: all of it is written at every commit."""
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
        self._buffers, self._own = Later(), _Own()
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
        trainer.add_callback(_Commits(self, trainer))
        if self.step is not None:
            resume_from_checkpoint = str(self._write(self.step))
        try:
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


class _Commits(TrainerCallback):  # type: ignore[misc]  # transformers is absent where types are checked
    """Commits where the Trainer itself would resume: all that follows an update is over, what follows is read anew.

    Within an epoch it puts the streams back after the next batches were loaded, so they are taken there; between two
    epochs, before.
    """

    def __init__(self, healed: Healed, trainer: Trainer) -> None:
        self._healed, self._trainer = healed, trainer
        self._looks, self._seen = LOOKS, b""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._healed.become(self._trainer)

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._seen = b""
        self._commit(state)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
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


class _Own:
    """What a Trainer keeps to itself, as a private part: other ranks time and log other things."""

    bound_to_step = True
    """It holds `global_step`, from which the Trainer goes on."""

    def __init__(self) -> None:
        self.restored: Mapping[str, Any] = {}
        self._trainer: Trainer | None = None

    def state_dict(self) -> dict[str, Any]:
        """As `trainer_state.json`, and the sums that the next log entry is made of."""
        if self._trainer is None:
            return dict(self.restored)
        sums = {name: getattr(self._trainer, name) for name in _SUMS if hasattr(self._trainer, name)}
        return {"state": _state_of(self._trainer), "sums": sums}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Kept for the Trainer that is to come."""
        self.restored = state_dict

    def become(self, trainer: Trainer) -> None:
        """The Trainer has read its state; the sums it would begin anew."""
        self._trainer = trainer
        for name, each in self.restored.get("sums", {}).items():
            setattr(trainer, name, each.to(trainer.args.device) if hasattr(each, "to") else each)
        if "_tr_loss" in self.restored.get("sums", {}):
            # The next entry is about every step since the last one; what `train()` returns, about its own steps only.
            trainer._total_loss_scalar = -trainer._tr_loss.item()  # noqa: SLF001 there is no other way to it
        _put_back(trainer, json.loads(self.restored.get("state") or "{}").get("stateful_callbacks", {}))


_SUMS = ("_tr_loss", "_globalstep_last_logged", "current_flos")


def _state_of(trainer: Trainer) -> str:
    state = asdict(trainer.state)
    state["log_history"] = state["log_history"][-LOGS_KEPT:]
    callbacks: dict[str, Any] = {}
    for each in [*trainer.callback_handler.callbacks, trainer.control]:
        if isinstance(each, ExportableState):
            callbacks.setdefault(type(each).__name__, []).append(each.state())
    state["stateful_callbacks"] = {name: each[0] if len(each) == 1 else each for name, each in callbacks.items()}
    return json.dumps(state, default=_plain)


def _put_back(trainer: Trainer, saved: Mapping[str, Any]) -> None:
    """What callbacks count, in place.

    The Trainer itself reads it where `restore_callback_states_from_checkpoint=True` alone, and begins anew otherwise:
    an EarlyStoppingCallback would end the run elsewhere.
    """
    for name, states in saved.items():
        same = [each for each in trainer.callback_handler.callbacks if type(each).__name__ == name]
        for callback, state in zip(same, states if isinstance(states, list) else [states], strict=False):
            for attribute, value in state.get("attributes", {}).items():
                setattr(callback, attribute, value)


def _plain(logged: Any) -> Any:
    """A log may hold numbers of numpy's or torch's, which Trainer itself only writes where it saves."""
    return logged.tolist() if hasattr(logged, "tolist") else str(logged)


def _require_fit(trainer: Trainer) -> None:
    """Raises Misuse that names the argument."""
    if not isinstance(trainer, Trainer):
        raise Misuse(f"train() takes a transformers.Trainer, and was given a {type(trainer).__name__}")
    args = trainer.args
    wrong = {
        "ignore_data_skip=True": args.ignore_data_skip and "the data position would not come back",
        "auto_find_batch_size=True": args.auto_find_batch_size and "a smaller batch would begin the run anew",
        "fsdp=": args.fsdp and "shards are saved and loaded by code of its own: not healed by this adapter yet",
        "deepspeed=": args.deepspeed and "it saves and loads by code of its own: not healed by this adapter",
        "train_sampling_strategy='group_by_length'": getattr(args, "train_sampling_strategy", "") == "group_by_length"
        and "its order is drawn when an epoch begins, and cannot be drawn again within one",
        "accelerator_config's use_seedable_sampler=False": not args.accelerator_config.use_seedable_sampler
        and "the order of an epoch is then drawn when it begins, and cannot be drawn again within one",
    }
    for name, why in wrong.items():
        if why:
            raise Misuse(f"TrainingArguments has {name}: {why}")
