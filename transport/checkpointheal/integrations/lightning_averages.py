"""How does the average that a Lightning callback keeps of the weights come back?

WeightAveraging keeps it in no part of the Trainer's, and changes places in a checkpoint: the average is written as the
model, and the model beside it. Must not know agents or arenas.
"""

from collections.abc import Mapping
from typing import Any

from checkpointheal.errors import Misuse
from checkpointheal.integrations.absent import without

try:
    from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
except ModuleNotFoundError as error:
    raise without(error, "healing a Lightning Trainer", "lightning") from error

PLACES = ("current_model_state", "averaging_state")
"""What it adds to a checkpoint."""


def require_one_average(trainer: Any) -> None:
    """Raises Misuse that names the callback whose average cannot come back."""
    if any(isinstance(each, StochasticWeightAveraging) for each in trainer.callbacks):
        raise Misuse(
            "StochasticWeightAveraging puts a schedule of its own in the place of yours when it begins, which a "
            "Trainer does not load again: use WeightAveraging or EMAWeightAveraging of lightning.pytorch.callbacks"
        )
    if len([each for each in trainer.callbacks if isinstance(each, WeightAveraging)]) > 1:
        raise Misuse("there are several WeightAveraging callbacks, and a checkpoint has room for one average: pass one")


def averages(trainer: Any, of_this_rank: frozenset[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What there is of an average: what peers have too, and this rank's statistics. Empty where nobody averages."""
    for each in trainer.callbacks:
        if isinstance(each, WeightAveraging):
            written: dict[str, Any] = {"state_dict": {}}
            each.on_save_checkpoint(trainer, trainer.lightning_module, written)
            average = written["state_dict"]
            shared = {name: value for name, value in average.items() if name not in of_this_rank}
            own = {name: value for name, value in average.items() if name in of_this_rank}
            return {"average": shared, "averaging_state": written["averaging_state"]}, {"average_buffers": own}
    return {}, {}


def as_written(model: Mapping[str, Any], shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Model and average where a checkpoint has them; they are taken out of both."""
    if "average" not in shared:
        return {"state_dict": model}
    return {
        "state_dict": {**shared.pop("average"), **own.pop("average_buffers")},
        "current_model_state": model,
        "averaging_state": shared.pop("averaging_state"),
    }
