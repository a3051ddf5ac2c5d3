"""What of a Lightning checkpoint do peers have too, and what is this rank's alone?

Must not know agents or arenas, or when it is asked.
"""

from collections.abc import Mapping
from typing import Any

from checkpointheal.errors import Misuse
from checkpointheal.integrations.halves import halves
from checkpointheal.integrations.lightning_averages import PLACES, as_written, averages
from checkpointheal.integrations.lightning_loops import AT_EPOCH, Loops

_SHARED = ("state_dict", "optimizer_states", "lr_schedulers", *PLACES)
_LEFT_OUT = (
    "hparams_name",
    "hyper_parameters",
    "hparams_type",
    "datamodule_hparams_name",
    "datamodule_hyper_parameters",
)


class Shared:
    """What `trainer.save_checkpoint()` would write, as a part: what peers have too."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self._model, self._buffers = halves(trainer.lightning_module)

    def state_dict(self) -> dict[str, Any]:
        """Weights, their average, optimizers, schedules."""
        strategy = self.trainer.strategy
        return {
            "state_dict": dict(self._model.state_dict()),
            "optimizer_states": [strategy.optimizer_state(each) for each in self.trainer.optimizers],
            "lr_schedulers": [each.scheduler.state_dict() for each in self.trainer.lr_scheduler_configs],
            **averages(self.trainer, self._buffers.of_this_rank)[0],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Never: a Trainer loads at its start only."""
        raise Misuse("a Lightning Trainer is restored once, before fit()")

    def of_this_rank(self) -> dict[str, Any]:
        """The rest: loops, data position, callbacks, scaler, whatever hooks add; and per-rank buffers."""
        dumped = self.trainer._checkpoint_connector.dump_checkpoint(weights_only=False)  # noqa: SLF001
        rest = {name: each for name, each in dumped.items() if name not in (*_SHARED, *_LEFT_OUT)}
        buffers = averages(self.trainer, self._buffers.of_this_rank)[1]
        generators = Loops(self.trainer).generators()
        return {**rest, **buffers, "buffers": dict(self._buffers.state_dict()), "generators": generators}


class Own:
    """This rank's part of it, and where in the loops it was taken."""

    bound_to_step = True
    """Its loops count updates."""

    def __init__(self) -> None:
        self.restored: Mapping[str, Any] = {}
        self.at = ""
        self._checkpoint: Shared | None = None

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

    def become(self, checkpoint: Shared) -> None:
        """The Trainer is there."""
        self._checkpoint, self.restored = checkpoint, {}


def whole(held: Mapping[str, Any], restored: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint that both halves were. Raises Misuse where this rank's is nowhere."""
    if not restored:
        raise Misuse(
            "this rank's own part of the state is nowhere, and a Lightning Trainer cannot go on without its loops: "
            "start the job from your checkpoint"
        )
    shared, own = dict(held), dict(restored)
    model = {**shared.pop("state_dict"), **own.pop("buffers")}
    own.pop("at")
    own.pop("generators", None)
    return {**as_written(model, shared, own), **shared, **own}
