"""A small Lightning module, its data, and a Trainer that says nothing."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import TensorDataset

POINTS = TensorDataset(torch.arange(8.0).reshape(8, 1))


class Net(LightningModule):  # type: ignore[misc]  # lightning is absent where types are checked
    """One weight."""

    def __init__(self, schedule: Any = None) -> None:
        super().__init__()
        self.layer, self.schedule = torch.nn.Linear(1, 1), schedule

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        loss: torch.Tensor = self.layer(batch[0]).square().mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        if self.schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.schedule(optimizer), "monitor": "loss"}}


def a_trainer(folder: Path, **told: Any) -> Trainer:
    """For one epoch, on this process alone."""
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return Trainer(**(quiet | {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "default_root_dir": folder} | told))
