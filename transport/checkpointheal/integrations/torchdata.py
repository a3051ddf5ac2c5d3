"""Can this loader's position be a private part, so that a rank goes on with the very sample that was next?

A StatefulDataLoader knows its position, but not every one of them can be taken up without changing the run. Must not
know the arena.
"""

from collections.abc import Mapping
from typing import Any

from torch.utils.data import RandomSampler

from checkpointheal.errors import Misuse
from checkpointheal.integrations.absent import without

try:
    from torchdata.stateful_dataloader import StatefulDataLoader
except ModuleNotFoundError as error:
    raise without(error, "the position in a StatefulDataLoader", "torchdata") from error


class Position:
    """Where a StatefulDataLoader is, as a part: `attach(private={"data": Position(loader)})`.

    Raises Misuse where the run would go on otherwise than it was.
    """

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
        if type(loader.sampler) is RandomSampler:
            raise Misuse(
                "the loader has torch's RandomSampler, whose order is drawn when an epoch begins and never again: say "
                "shuffle=True, or give it torchdata's StatefulDistributedSampler"
            )
        self._loader = loader

    def state_dict(self) -> Mapping[str, Any]:
        """After the batch that was taken last."""
        state: Mapping[str, Any] = self._loader.state_dict()
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The next iterator goes on from there."""
        self._loader.load_state_dict(dict(state_dict))
