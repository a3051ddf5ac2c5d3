"""Did every rank restore the same thing?

One small collective over the job's own group answers it on all ranks at once, so that no rank trains on alone.
Must not know the arena or the agent.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.distributed as dist

from checkpointheal import digest
from checkpointheal.contract.base import Digest
from checkpointheal.contract.layout import Kind, Schema
from checkpointheal.errors import RestoreDisagrees

_PLAIN: Mapping[Kind, Kind] = {"parameter": "tensor", "dtensor parameter": "dtensor"}


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
            [self.protected, self.epoch, -1 if self.step is None else self.step, *halves],
            dtype=torch.int64,
            device="cpu",
        )


def schema_digest(schema: Schema) -> Digest:
    """Of what all must hold alike. Whether a parameter trains is not: each script sets that once it begins."""
    alike = [each.but(kind=_PLAIN.get(each.kind, each.kind), requires_grad=False) for each in schema.forms]
    number = {form: at for at, form in enumerate(dict.fromkeys(alike))}
    numbers = tuple(number[alike[form]] for form in schema.tensors.forms)
    tensors = schema.tensors.but(forms=numbers)
    return digest.schema_digest(schema.but(forms=tuple(number), tensors=tensors))


def agree(standing: Standing, group: dist.ProcessGroup | None) -> None:
    """Raise RestoreDisagrees, on every rank, unless all are equal. Without a process group there is one rank."""
    if not dist.is_initialized():
        return
    rows = _gathered(standing.numbers(), group)
    if len(set(rows)) > 1:
        raise _disagreement(rows)


def agree_by_coordinate(standing: Standing, coordinate: int) -> list[int]:
    """The same over the default group, where each coordinate has a schema of its own; returns each rank's coordinate.

    Where the collective was lost the rows mean nothing: ask for faults before this is called a disagreement.
    """
    rows = _gathered(torch.cat([standing.numbers(), torch.tensor([coordinate], device="cpu")]), None)
    schemas: dict[int, set[tuple[int, ...]]] = {}
    for row in rows:
        schemas.setdefault(row[5], set()).add(row[3:5])
    if len({row[:3] for row in rows}) > 1 or any(len(each) > 1 for each in schemas.values()):
        raise _disagreement([row[:5] for row in rows])
    return [row[5] for row in rows]


def _gathered(mine: torch.Tensor, group: dist.ProcessGroup | None) -> list[tuple[int, ...]]:
    device = _device(group)
    gathered = [torch.empty_like(mine, device=device) for _ in range(dist.get_world_size(group))]
    dist.all_gather(gathered, mine.to(device), group=group)
    return [tuple(row.tolist()) for row in gathered]


def _device(group: dist.ProcessGroup | None) -> torch.device:
    """Where this group's tensors lie; over NCCL that is this rank's own GPU, which need not be the current one."""
    if dist.get_backend(group) != "nccl":
        return torch.device("cpu")
    world = dist.distributed_c10d._get_default_group()  # noqa: SLF001 `dist.group.WORLD`, which is None in torch 2.6
    for each in (group or world, world):
        if each.bound_device_id is not None:
            return each.bound_device_id
    return torch.device("cuda", torch.cuda.current_device())


def _disagreement(rows: list[tuple[int, ...]]) -> RestoreDisagrees:
    return RestoreDisagrees(
        "the ranks did not restore the same thing: " + "; ".join(_row(i, row) for i, row in enumerate(rows))
    )


def _row(rank: int, row: tuple[int, ...]) -> str:
    protected, epoch, step, high, low = row
    schema = f"{high + (1 << 63):016x}{low + (1 << 63):016x}"
    agent = "" if protected else ", no agent"
    return f"rank {rank} has epoch {epoch}, step {'none' if step < 0 else step}, schema {schema[:8]}{agent}"
