"""A Lightning Trainer's commits tell the loss of their step, and end with the training."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning", reason="lightning is not installed here: make integrations")
pytest.importorskip("torchdata", reason="torchdata is not installed here: make integrations")

import torch
from torchdata.stateful_dataloader import StatefulDataLoader

from builders_lightning import POINTS, Net, a_trainer
from checkpointheal.integrations import lightning as healing

pytestmark = pytest.mark.filterwarnings("ignore")


class Hearing:
    """Takes the place of a job's heal, and writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, float | None]] = []

    def agree(self) -> None:
        """Nobody else is there."""

    def commit(self, step: int, *, loss: torch.Tensor | None = None) -> None:
        """Read at once: the tensor may be used again."""
        self.told.append((step, None if loss is None else float(loss)))

    def done(self) -> None:
        """Nobody waits for it."""


class Loud(Net):
    """Remembers what it returned."""

    def __init__(self, *, named: bool) -> None:
        super().__init__()
        self.named, self.returned = named, []

    def training_step(self, batch: Any, number: int) -> Any:
        loss = super().training_step(batch, number)
        self.returned.append(float(loss))
        return {"loss": loss} if self.named else loss


@pytest.mark.parametrize("named", [False, True])
def test_each_step_is_committed_with_the_loss_that_it_returned(tmp_path: Path, named: bool) -> None:
    healed, model = healing.restore(), Loud(named=named)
    hearing = healed.heal = Hearing()  # type: ignore[assignment]
    healed.fit(a_trainer(tmp_path, max_epochs=2), model, StatefulDataLoader(POINTS))
    returned = dict(enumerate(model.returned, 1))
    assert len(returned) == 2 * len(POINTS)
    assert hearing.told == [(step, returned[step]) for step, _ in hearing.told]
    assert {step for step, _ in hearing.told} == {*returned} - {len(returned)}, "after the last one nothing is kept"


class Validated(Net):
    def validation_step(self, batch: Any, number: int) -> None:
        """Nothing is measured."""


def test_a_validation_after_the_training_commits_nothing(tmp_path: Path) -> None:
    healed, model = healing.restore(), Validated()
    hearing = healed.heal = Hearing()  # type: ignore[assignment]
    trainer = a_trainer(tmp_path, max_steps=3)
    healed.fit(trainer, model, StatefulDataLoader(POINTS), StatefulDataLoader(POINTS))
    told = [*hearing.told]
    trainer.validate(model, StatefulDataLoader(POINTS), verbose=False)
    assert hearing.told == told
