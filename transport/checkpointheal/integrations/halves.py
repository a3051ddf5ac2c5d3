"""Which half of a module's state may come from a peer, and which is this rank's alone?

`attach()` parts them itself where it is given the module. An adapter attaches before there is one. Must not know any
framework.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from checkpointheal.trainer.own_statistics import statistics_of


@dataclass(frozen=True)
class Half:
    """One half of it, as a part."""

    module: nn.Module
    of_this_rank: frozenset[str]
    is_own: bool

    def state_dict(self) -> Mapping[str, Any]:
        """Only this half's entries."""
        return {
            key: value for key, value in self.module.state_dict().items() if (key in self.of_this_rank) is self.is_own
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """They, and nothing else, are loaded."""
        self.module.load_state_dict(state_dict, strict=False)


def halves(module: nn.Module) -> tuple[Half, Half]:
    """What peers have too, and the statistics of BatchNorm."""
    keys = frozenset(statistics_of(module).keys)
    return Half(module, keys, is_own=False), Half(module, keys, is_own=True)
