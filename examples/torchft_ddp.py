"""torchft's Manager keeps the survivors training; CheckpointHeal's transport gives a replica that comes back its state.

torchft_lighthouse --bind 127.0.0.1:29510 --min_replicas 1 &
export TORCHFT_LIGHTHOUSE=http://127.0.0.1:29510
python examples/torchft_ddp.py --replica 0 &
python examples/torchft_ddp.py --replica 1    # kill it with -9, start it again; the other one goes on meanwhile
"""

import argparse
import hashlib
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
from torch import nn
from torch.distributed import TCPStore
from torchft import Manager, Optimizer, ProcessGroupGloo

from checkpointheal.integrations.torchft import HealTransport

CPU, LOCALHOST, PATIENCE = torch.device("cpu"), "127.0.0.1", timedelta(seconds=10)


def average(manager: Manager, net: nn.Module) -> None:
    """Gradients, in one message.

    torchft's own DDP (0.2) ends a survivor by an assertion in its hook where a collective has lost a peer.
    """
    gradients = [each.grad for each in net.parameters() if each.grad is not None]
    together = torch.cat([each.flatten() for each in gradients])
    manager.allreduce(together).wait()
    for each, part in zip(gradients, together.split([each.numel() for each in gradients]), strict=True):
        each.copy_(part.view_as(each))


def train_step(manager: Manager, net: nn.Module, optimizer: Optimizer, points: torch.Tensor) -> None:
    optimizer.zero_grad()
    nn.functional.mse_loss(net(points), points.roll(1, dims=1).tanh()).backward()
    average(manager, net)
    optimizer.step()


def main() -> None:
    """Train for `--steps` updates, whatever happens to the other one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--replica", type=int, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds per step, so that there is time to kill")
    parser.add_argument("--fewest", type=int, default=1, help="replicas that an update needs")
    options = parser.parse_args()

    torch.manual_seed(options.replica)  # unequal weights: the Manager lets them be healed at the first step
    net = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))
    adam = torch.optim.AdamW(net.parameters())

    def state_dict() -> dict[str, Any]:
        return {"model": net.state_dict(), "optimizer": adam.state_dict()}

    def load_state_dict(state: dict[str, Any]) -> None:
        net.load_state_dict(state["model"])
        adam.load_state_dict(state["optimizer"])

    group = ProcessGroupGloo(timeout=PATIENCE)
    store = TCPStore(LOCALHOST, 0, is_master=True, wait_for_workers=False)
    manager = Manager(
        pg=group,
        load_state_dict=load_state_dict,
        state_dict=state_dict,
        min_replica_size=options.fewest,
        replica_id=f"replica_{options.replica}",
        store_addr=LOCALHOST,
        store_port=store.port,
        rank=0,
        world_size=1,
        hostname=LOCALHOST,
        timeout=PATIENCE,
        checkpoint_transport=HealTransport(group, PATIENCE, CPU),
    )
    optimizer = Optimizer(manager, adam)

    while (step := manager.current_step()) < options.steps:
        points = torch.randn(32, 64, generator=torch.Generator().manual_seed(2 * step + options.replica))
        train_step(manager, net, optimizer, points)
        print(f"pid {os.getpid()} step {manager.current_step()} {digest(state_dict())}", flush=True)
        time.sleep(options.pause)
    manager.shutdown(wait=False)


def digest(state: dict[str, Any]) -> str:
    """Equal where every bit of the weights and of the optimizer is."""
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors(state))).hexdigest()[:16]


def tensors(state: Any) -> Iterator[torch.Tensor]:
    """All that are in it, in order."""
    if isinstance(state, torch.Tensor):
        yield state.detach()
    elif isinstance(state, dict | list):
        for each in state.values() if isinstance(state, dict) else state:
            yield from tensors(each)


if __name__ == "__main__":
    main()
