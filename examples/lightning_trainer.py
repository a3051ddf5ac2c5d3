"""A Lightning Trainer that goes on where it was, whoever of its job is killed: a small net, on the CPU, over gloo.

checkpointheal local --replicas 3 -- python examples/lightning_trainer.py   # kill whatever you like while it runs
python examples/lightning_trainer.py                                         # the same, alone and unprotected
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.environments import KubeflowEnvironment
from torch import nn
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import StatefulDistributedSampler

from checkpointheal.integrations import lightning as healing


class Points(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Each is made of its number, so the same one is the same whoever asks."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        point = torch.randn(16, generator=torch.Generator().manual_seed(number))
        return point, point.roll(1).tanh()


class Net(LightningModule):
    """As anybody would write it."""

    def __init__(self, pause: float) -> None:
        super().__init__()
        self.pause = pause
        self.net = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.Dropout(0.2), nn.GELU(), nn.Linear(64, 16))

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        time.sleep(self.pause)
        points, wanted = batch
        return nn.functional.mse_loss(self.net(points), wanted)

    def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
        if self.global_rank == 0 and number % 4 == 3:
            print(f"step {self.global_step}: loss {float(outputs['loss']):.4f}", flush=True)

    def validation_step(self, batch: Any, number: int) -> None:
        points, wanted = batch
        self.log("loss", nn.functional.mse_loss(self.net(points), wanted), sync_dist=True)

    def configure_optimizers(self) -> Any:
        adam = torch.optim.AdamW(self.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=200)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds per batch, so that there is time to kill")
    parser.add_argument("--out", type=Path, default=Path("lightning-out"), help="where your own checkpoints go")
    return parser.parse_args()


def trainer_of(asked: argparse.Namespace, *callbacks: Any) -> Trainer:
    """One process per pod, so each is a node with one device."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    return Trainer(
        accelerator="cpu",
        devices=1,
        num_nodes=world,
        plugins=[KubeflowEnvironment()] if world > 1 else [],
        # A restarted job must add its gradients in the order of one that was never disturbed: see the page on DDP.
        strategy="ddp_find_unused_parameters_true" if world > 1 else "auto",
        max_epochs=asked.epochs,
        accumulate_grad_batches=2,
        val_check_interval=0.5,
        num_sanity_val_steps=0,
        callbacks=[ModelCheckpoint(asked.out, monitor="loss", save_top_k=2, save_last=True), *callbacks],
        default_root_dir=asked.out,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def model_of(asked: argparse.Namespace) -> Net:
    seed_everything(0, verbose=False)  # equal weights on every rank
    model = Net(asked.pause)
    torch.manual_seed(int(os.environ.get("RANK", "0")))  # dropout of its own
    return model


def loaders() -> tuple[Any, Any]:
    """A loader that knows its position, and a sampler that does: Lightning's own would be drawn anew after a heal."""
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    points = Points(96)
    sampler = StatefulDistributedSampler(points, num_replicas=world, rank=rank, shuffle=True)
    return StatefulDataLoader(points, batch_size=4, sampler=sampler), torch.utils.data.DataLoader(
        Points(12), batch_size=4
    )


def main() -> None:
    asked = options()
    healed = healing.restore()  # the first thing: fit() joins the process group
    model = model_of(asked)
    healed.fit(trainer_of(asked), model, *loaders(), ckpt_path="last")


if __name__ == "__main__":
    main()
