"""`examples/torchft_ddp.py`, watched: a replica of a job of which an update needs all, so that none is lost by a kill.

Plain, states cross by torchft's own transport.
"""

import os
from typing import Any

import torch
import witness

WORLD = os.environ["WORLD_SIZE"]
example: Any = witness.example("torchft_ddp", "--replica", str(witness.RANK), "--fewest", WORLD, "--pause", "0")
digest = example.digest
seen: dict[str, Any] = {}


class Manager(example.Manager):  # type: ignore[misc]
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        seen["manager"] = self


class DistributedDataParallel(example.DistributedDataParallel):  # type: ignore[misc]
    def forward(self, points: torch.Tensor) -> torch.Tensor:
        step = seen["manager"].current_step()
        witness.turns[0] += step <= seen.get("step", -1)
        seen["step"] = step
        witness.consumed(step, points)
        told: torch.Tensor = super().forward(points)
        return told


def watched(state: dict[str, Any]) -> str:
    count = seen["manager"].current_step()
    if count == seen["step"] + 1:  # not where it was healed to
        witness.updated(count)
    seen["state"] = state
    said: str = digest(state)
    return said


example.Manager, example.DistributedDataParallel, example.digest = Manager, DistributedDataParallel, watched
if witness.IS_PLAIN:
    example.HealTransport = lambda *_: None
example.main()
witness.end(model=seen["state"]["model"], optimizer=seen["state"]["optimizer"])
