"""Did every rank restore the same thing?

One small collective over the job's own group answers it on all ranks at once, so that no rank trains on alone.
Must not know the arena or the agent.
"""

from typing import NamedTuple

import torch
import torch.distributed as dist

from checkpointheal.errors import RestoreDisagrees


class Standing(NamedTuple):
    """What one rank would begin with."""

    protected: bool
    epoch: int
    step: int | None
    schema_digest: str

    def numbers(self) -> torch.Tensor:
        """int64[5]: protected, epoch, step or -1, and the digest's two halves."""
        halves = [int(self.schema_digest[i : i + 16], 16) - (1 << 63) for i in (0, 16)]
        return torch.tensor(
            [self.protected, self.epoch, -1 if self.step is None else self.step, *halves], dtype=torch.int64
        )


def agree(standing: Standing, group: dist.ProcessGroup | None) -> None:
    """Raise RestoreDisagrees, on every rank, unless all are equal. Without a process group there is one rank."""
    if not dist.is_initialized():
        return
    mine = standing.numbers()
    device = (
        torch.device("cuda", torch.cuda.current_device()) if dist.get_backend(group) == "nccl" else torch.device("cpu")
    )
    gathered = [torch.empty_like(mine, device=device) for _ in range(dist.get_world_size(group))]
    dist.all_gather(gathered, mine.to(device), group=group)
    rows = [tuple(row.tolist()) for row in gathered]
    if len(set(rows)) > 1:
        raise RestoreDisagrees(
            "the ranks did not restore the same thing: " + "; ".join(_row(i, row) for i, row in enumerate(rows))
        )


def _row(rank: int, row: tuple[int, ...]) -> str:
    protected, epoch, step, high, low = row
    schema = f"{high + (1 << 63):016x}{low + (1 << 63):016x}"
    agent = "" if protected else ", no agent"
    return f"rank {rank} has epoch {epoch}, step {'none' if step < 0 else step}, schema {schema[:8]}{agent}"
