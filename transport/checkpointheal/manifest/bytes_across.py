"""How do the bytes of a live state get into a data section, and back?

One copy per region, in place on both sides.
"""

from collections.abc import Sequence

import torch

from checkpointheal.contract.cut import Cut, Pieces
from checkpointheal.manifest.describe import Described
from checkpointheal.manifest.packing import copy, gather, scatter
from checkpointheal.manifest.rebuild import Data, as_bytes


def write_out(live: Described, data: Data, chosen: Sequence[bool] | None = None) -> None:
    """Copy the live state into a data section of its schema; of its regions the `chosen` ones alone."""
    pieces = _whole(live)
    if chosen is not None:
        pieces = pieces.only([chosen[region] for region in pieces.regions])
    gather(as_bytes(data), pieces, live.regions)


def write_into(live: Described, data: Data) -> None:
    """Copy a data section of the same schema into the live state, in place."""
    scatter(as_bytes(data), _whole(live), live.regions)


def write_over(live: Described, regions: Sequence[torch.Tensor]) -> None:
    """Copy regions of the same schema into the live state, in place."""
    copy(_whole(live), regions, live.regions)


def _whole(live: Described) -> Pieces:
    """The data section as one chunk."""
    return Cut(live.schema, max(live.schema.data_bytes, 1)).columns(0)
