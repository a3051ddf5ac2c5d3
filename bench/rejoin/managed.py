"""The same training under torchft's Manager, with its own transport: `python -m bench.rejoin.managed FOLDER SECONDS`.

Survivors go on without the lost one. Gradients are averaged in one message, not by torchft's own DDP: that of 0.2 was
seen to end a survivor by an assertion in its hook, where a collective had lost a peer.
"""

import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
from torch import nn
from torch.distributed import TCPStore
from torch.nn import functional as F  # noqa: N812 its usual name
from torchft import Manager, Optimizer, ProcessGroupGloo

from bench.rejoin.lost import RANKS
from bench.rejoin.model import MODEL, PACE
from checkpointheal.demo import reference
from checkpointheal.demo.reference import tell

FOLDER, RANK = Path(sys.argv[1]), int(os.environ["RANK"])
PATIENCE, LOCALHOST = timedelta(seconds=float(sys.argv[2])), "127.0.0.1"


class Noticing(Manager):  # type: ignore[misc]
    def report_error(self, error: Exception) -> None:
        tell(FOLDER, RANK, event="noticed")
        super().report_error(error)


def average(manager: Manager, model: nn.Module) -> None:
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    together = torch.cat([each.flatten() for each in gradients])
    manager.allreduce(together).wait()
    for each, part in zip(gradients, together.split([each.numel() for each in gradients]), strict=True):
        each.copy_(part.view_as(each))


def main() -> None:
    model, optimizer, schedule, text = reference.build(MODEL, RANK)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    tell(FOLDER, RANK, event="ready")
    store = TCPStore(LOCALHOST, 0, is_master=True, wait_for_workers=False)
    manager = Noticing(
        pg=ProcessGroupGloo(timeout=PATIENCE),
        load_state_dict=lambda state: [part.load_state_dict(state[name]) for name, part in parts.items()],
        state_dict=lambda: {name: part.state_dict() for name, part in parts.items()},
        min_replica_size=RANKS - 1,
        replica_id=f"replica_{RANK}",
        store_addr=LOCALHOST,
        store_port=store.port,
        rank=0,
        world_size=1,
        hostname=LOCALHOST,
        timeout=PATIENCE,
    )
    stepping = Optimizer(manager, optimizer)
    while True:
        time.sleep(PACE)
        before = manager.current_step()
        stepping.zero_grad()
        tokens, targets = text.draw()
        F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten()).backward()  # type: ignore[no-untyped-call]
        average(manager, model)
        stepping.step()
        if manager.current_step() == before + 1:
            schedule.step()
            tell(FOLDER, RANK, event="step", step=before + 1)


if __name__ == "__main__":
    main()
