"""What does a collective give while nobody is met, if every peer holds what this rank holds?

So a restarted member may wrap its model, which compares shapes and spreads weights, alone. What cannot be told from
this rank's own is refused, since what it would leave in memory is nobody's. Must not know epochs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist

from checkpointheal.errors import Misuse

_Arguments = Sequence[Any]
_SAME_OF_EQUALS = ("MIN", "MAX", "AVG", "BAND", "BOR")


def mirror(collective: str, arguments: _Arguments, rank: int, size: int) -> None:
    """Carry it out. `arguments` are as torch gives them to a group. Raises Misuse where peers are needed."""
    carry = _CARRIED.get(collective)
    if carry is None or not carry(arguments, rank, size):
        raise Misuse(
            f"{collective} needs peers, and none is met yet: call it inside `with epoch:`. distribute_tensor() and "
            "parallelize_module() do without them by src_data_rank=None, torch.distributed.checkpoint by no_dist=True"
        )


def _nothing(arguments: _Arguments, rank: int, size: int) -> bool:
    """Each rank has it."""
    return True


def _rows(arguments: _Arguments, rank: int, size: int) -> bool:
    """One list of outputs for each input; none where the root is another rank."""
    outputs, inputs = arguments[:2]
    for rows, mine in zip(outputs, inputs if outputs else [], strict=True):
        for row in rows:
            row.copy_(mine)
    return True


def _rows_of_each(arguments: _Arguments, rank: int, size: int) -> bool:
    """For each rank a list of outputs, one for each input."""
    outputs, inputs = arguments[:2]
    for row in outputs:
        for output, mine in zip(row, inputs, strict=True):
            output.copy_(mine)
    return True


def _flat(arguments: _Arguments, rank: int, size: int) -> bool:
    _spread(*arguments[:2])
    return True


def _each_flat(arguments: _Arguments, rank: int, size: int) -> bool:
    for output, mine in zip(*arguments[:2], strict=True):
        _spread(output, mine)
    return True


def _spread(output: torch.Tensor, mine: torch.Tensor) -> None:
    if mine.numel():
        output.view(-1, mine.numel()).copy_(mine.reshape(1, -1).expand(output.numel() // mine.numel(), -1))


def _reduced(arguments: _Arguments, rank: int, size: int) -> bool:
    kind = getattr(arguments[1], "reduceOp", arguments[1]) if len(arguments) > 1 else dist.ReduceOp.SUM
    tensors = arguments[0] if isinstance(arguments[0], list) else [arguments[0]]
    if kind == dist.ReduceOp.SUM:
        for tensor in tensors:
            tensor.mul_(size)
        return True
    return any(kind == getattr(dist.ReduceOp, name) for name in _SAME_OF_EQUALS)


def _scattered(arguments: _Arguments, rank: int, size: int) -> bool:
    """What another rank would send is not here."""
    outputs, inputs = arguments[:2]
    if not inputs:
        return False
    outputs[0].copy_(inputs[0][rank])
    return True


_CARRIED: Mapping[str, Callable[[_Arguments, int, int], bool]] = {
    "_allgather_base": _flat,
    "all_gather_single": _flat,
    "all_gather_single_coalesced": _each_flat,
    "allgather": _rows,
    "allgather_coalesced": _rows_of_each,
    "allgather_into_tensor_coalesced": _each_flat,
    "allreduce": _reduced,
    "allreduce_coalesced": _reduced,
    "barrier": _nothing,
    "broadcast": _nothing,
    "gather": _rows,
    "reduce": _reduced,
    "scatter": _scattered,
}
