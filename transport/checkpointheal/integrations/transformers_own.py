"""What does a Hugging Face Trainer keep to itself, and how does the one of the next process have it again?

Must not know agents or arenas, or when it is asked.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import accumulate, takewhile
from typing import Any

from checkpointheal.integrations.absent import without

try:
    from transformers import Trainer
    from transformers.trainer_callback import ExportableState
except ModuleNotFoundError as error:
    raise without(error, "healing a Hugging Face Trainer", "'transformers[torch]'") from error

LOGS_KEPT = 1000
"""Entries of `log_history` that come back, the newest ones: all of them are written at every commit."""


class Own:
    """What a Trainer keeps to itself, as a private part: other ranks time and log other things."""

    bound_to_step = True
    """It holds `global_step`, from which the Trainer goes on."""

    def __init__(self, room: int) -> None:
        """`room`: bytes that the log may take of what all private parts may."""
        self._room = room
        self.restored: Mapping[str, Any] = {}
        self._trainer: Trainer | None = None

    def state_dict(self) -> dict[str, Any]:
        """As `trainer_state.json`, and the sums that the next log entry is made of."""
        if self._trainer is None:
            return dict(self.restored)
        sums = {name: getattr(self._trainer, name) for name in _SUMS if hasattr(self._trainer, name)}
        return {"state": state_of(self._trainer, self._room), "sums": sums}

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


def state_of(trainer: Trainer, room: int) -> str:
    """As `trainer_state.json`, with the newest entries of the log: as many as `room` has bytes for, and LOGS_KEPT."""
    state = {each.name: getattr(trainer.state, each.name) for each in fields(trainer.state)}
    state["log_history"] = _newest(trainer.state.log_history, room)
    callbacks: dict[str, Any] = {}
    for each in [*trainer.callback_handler.callbacks, trainer.control]:
        if isinstance(each, ExportableState):
            callbacks.setdefault(type(each).__name__, []).append(each.state())
    state["stateful_callbacks"] = {name: each[0] if len(each) == 1 else each for name, each in callbacks.items()}
    return json.dumps(state, default=_plain)


def _newest(entries: Sequence[Mapping[str, Any]], room: int) -> list[Mapping[str, Any]]:
    """A log grows for as long as a run does, and this is done at every commit: what is left out is not looked at."""
    newest = entries[-LOGS_KEPT:]
    sizes = accumulate(len(json.dumps(each, default=_plain)) + len(", ") for each in reversed(newest))
    fit = sum(1 for _ in takewhile(lambda size: size <= room, sizes))
    return [*newest[len(newest) - fit :]]


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
