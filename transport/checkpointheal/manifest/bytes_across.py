"""How do the bytes of a live state get into a data section, and back?

One copy per region, in place on both sides.
"""

from collections.abc import Iterator

import torch

from checkpointheal.manifest.describe import Described
from checkpointheal.manifest.rebuild import Data, as_bytes


def write_out(live: Described, data: Data) -> None:
    """Copy the live state into a data section of its schema."""
    for region, place in _pairs(live, data):
        place.copy_(region)


def write_into(live: Described, data: Data) -> None:
    """Copy a data section of the same schema into the live state, in place."""
    for region, place in _pairs(live, data):
        region.copy_(place)


def _pairs(live: Described, data: Data) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    section = as_bytes(data)
    for region, memory in zip(live.schema.regions, live.regions, strict=True):
        if region.nbytes:
            yield memory, section[region.offset : region.offset + region.nbytes]
