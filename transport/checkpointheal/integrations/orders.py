"""Whose order is drawn when a pass begins and never again, so that none is taken up in its middle?

Adapters ask it of a loader. Must not know any library but torch.
"""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import BatchSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

_DRAWN = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
_KEEPS = ("set_epoch", "load_state_dict")
"""By either, an order comes again: it is made of the epoch, or is kept."""
REMEDY = (
    "whose order is drawn when a pass begins and never again: give it one that makes its order of a seed and the "
    "epoch, as torchdata's StatefulDistributedSampler does"
)


def drawn_anew(loader: Any) -> str | None:
    """The sampler of this loader whose order would not come again, as a phrase; None where there is none."""
    for sampler, around in _samplers(loader):
        if any(hasattr(sampler, each) for each in _KEEPS):
            continue
        if isinstance(sampler, _DRAWN):
            return f"a {type(sampler).__name__}"
        if type(around) is BatchSampler and hasattr(sampler, "generator"):  # torchdata's own keeps its sampler's place
            return f"a {type(sampler).__name__} inside torch's BatchSampler"
    return None


def _samplers(around: Any) -> Iterator[tuple[Any, Any]]:
    for name in ("sampler", "batch_sampler"):
        if (each := getattr(around, name, None)) is not None:
            yield each, around
            yield from _samplers(each)
