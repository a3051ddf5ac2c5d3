"""What is a state at this moment, if it is to be described a little later, beside a loop that goes on?

Containers are copied, because their owner may change them; tensors are handed to whoever knows what becomes of each.
Nothing is looked at closely: that is what happens later. Must not know what only an update writes.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from checkpointheal.manifest.wholes import PLAIN, is_leaf, local_of

FIXED = frozenset((int, float, str, bool, type(None), bytes, complex, torch.dtype, torch.device, torch.Size))


class Living(Exception):
    """An object whose parts may change under whoever looks later. Never leaves this package: look at once then."""


def still(node: Any, take: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The tree in containers of its own, each tensor as `take` returns it, in order. Raises Living."""
    kind = type(node)
    if kind in FIXED:
        return node
    if kind is dict or kind is OrderedDict:
        return kind([(key, take(each) if type(each) in PLAIN else still(each, take)) for key, each in node.items()])
    if kind is list or kind is tuple:
        return kind([still(each, take) for each in node])
    if isinstance(node, torch.Tensor):
        return take(node)
    if kind is np.ndarray and node.dtype != object:
        return node.copy()
    raise Living


def address(tensor: torch.Tensor) -> int:
    """Where it begins: while somebody holds its storage, no other does there. Raises Living for one made of several."""
    if type(tensor) in PLAIN:
        return tensor.data_ptr()
    if not is_leaf(tensor):
        raise Living
    return local_of(tensor).data_ptr()
