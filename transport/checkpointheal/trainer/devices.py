"""When has a device done what it was asked for before an update?

A device runs behind the program: what it has not done yet may still come to nothing. Must not know epochs or groups.
"""

from collections.abc import Iterable

import torch


def are_in_use() -> bool:
    """Whether this process computes on one."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def are_recorded() -> bool:
    """Whether what is asked for now is recorded for a CUDA graph: nothing is done, and nobody may wait."""
    return torch.cuda.is_current_stream_capturing()


def wait_for(tensors: Iterable[torch.Tensor]) -> None:
    """Until the current streams of the devices that these lie on have run dry; of the current device, if on none.

    Not of the current one in any case: who names a device at every call never makes it that, and asking the first one
    for its stream would take memory there.
    """
    updated: set[torch.device | None] = {each.device for each in tensors if each.is_cuda}
    for device in updated or {None}:
        torch.cuda.current_stream(device).synchronize()
