"""`examples/torchft_ddp.py`, watched: a replica of a job of which an update needs all, so that none is lost by a kill.

Plain, states cross by torchft's own transport.
"""

import os
from typing import Any

import torch
import witness

WORLD = os.environ["WORLD_SIZE"]
example: Any = witness.example("torchft_ddp", "--replica", str(witness.RANK), "--fewest", WORLD, "--pause", "0")
digest, train_step = example.digest, example.train_step
seen: dict[str, Any] = {}


def watched_step(manager: Any, net: Any, optimizer: Any, points: torch.Tensor) -> None:
    step = manager.current_step()
    witness.turns[0] += step <= seen.get("step", -1)
    seen.update(manager=manager, step=step)
    witness.consumed(step, points)
    train_step(manager, net, optimizer, points)


def watched(state: dict[str, Any]) -> str:
    count = seen["manager"].current_step()
    if count == seen["step"] + 1:  # not where it was healed to
        witness.updated(count)
    seen["state"] = state
    said: str = digest(state)
    return said


example.train_step, example.digest = watched_step, watched
if witness.IS_PLAIN:
    example.HealTransport = lambda *_: None
example.main()
witness.end(model=seen["state"]["model"], optimizer=seen["state"]["optimizer"])
