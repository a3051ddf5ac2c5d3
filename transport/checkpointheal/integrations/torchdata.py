"""Can this loader's position be a private part, so that a rank goes on with the very sample that was next?

A StatefulDataLoader knows its position, but not every one of them can be taken up without changing the run. Must not
know the arena.
"""

import weakref
from collections.abc import Mapping
from typing import Any, ClassVar

from checkpointheal.errors import Misuse
from checkpointheal.integrations.absent import without
from checkpointheal.integrations.orders import REMEDY, drawn_anew

try:
    from torchdata.stateful_dataloader import StatefulDataLoader
except ModuleNotFoundError as error:
    raise without(error, "the position in a StatefulDataLoader", "torchdata") from error


_STREAM = "checkpointheal_generator"
"""Where the loader's own generator is that orders are drawn from: torchdata keeps where this pass's began."""
PATIENCE = 3
"""Commits by which some loader has given a batch."""


class Position:
    """Where a StatefulDataLoader is, as a part: `attach(private={"data": Position(loader)})`.

    Raises Misuse where the run would go on otherwise than it was.
    """

    _loaders: ClassVar["weakref.WeakSet[StatefulDataLoader]"] = weakref.WeakSet()
    """Which of several loaders gives batches when is the loop's own; that none does is a mistake."""

    def __init__(self, loader: StatefulDataLoader) -> None:
        if not isinstance(loader, StatefulDataLoader):
            raise Misuse(
                f"Position takes torchdata's StatefulDataLoader, and was given a {type(loader).__name__}, which does "
                "not know its position"
            )
        if loader.generator is None:
            raise Misuse(
                "the loader has no generator=: each of its iterators would draw from the stream that dropout draws "
                "from, and a restored run makes one more; give it torch.Generator().manual_seed(rank)"
            )
        if drawn := drawn_anew(loader):
            raise Misuse(f"the loader has {drawn}, {REMEDY}")
        self._loader = loader
        orders = (loader.sampler, getattr(loader.batch_sampler, "sampler", None))
        self._shuffles = any(getattr(each, "generator", None) is loader.generator for each in orders)
        self._patience = PATIENCE
        self._loaders.add(loader)

    def state_dict(self) -> Mapping[str, Any]:
        """After the batch that was taken last. Raises Misuse where commits go by and batches come from elsewhere."""
        self._patience -= not any(map(_gave_a_batch, self._loaders))
        if not self._patience:
            raise Misuse(
                f"no batch was taken from the loader of any Position in {PATIENCE} commits: where accelerate's "
                "prepare() or Fabric's setup_dataloaders() made another loader of it, leave it out of that call and "
                "iterate this one (docs/integrations/accelerate.md)"
            )
        state: Mapping[str, Any] = self._loader.state_dict()
        return {**state, _STREAM: self._loader.generator.get_state()} if self._shuffles else state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The next iterator goes on from there."""
        state = dict(state_dict)
        stream = state.pop(_STREAM, None)
        self._loader.load_state_dict(state)
        if stream is not None:
            self._loader.state_dict()  # the iterator is made, and draws an order: the next one's begins where it did
            self._loader.generator.set_state(stream)
        self._patience = -1  # batches were taken before


def _gave_a_batch(loader: StatefulDataLoader) -> bool:
    """For its state alone an iterator is made too, which waits for whoever takes the first."""
    waits = getattr(loader, "_initial_iter_for_state_dict", False)
    return getattr(loader, "_iterator", loader) is not None and not waits
