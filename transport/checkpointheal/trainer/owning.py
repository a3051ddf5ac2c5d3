"""What may be handed to a `load_state_dict` of somebody else's?

Never a view of our memory: an object may keep what it is given while the arena is overwritten, and torch's own
`Generator.set_state` ends the process when its tensor does not begin its storage.
"""

from collections import Counter, OrderedDict
from typing import Any

import torch

from checkpointheal.manifest import part_by_part


def own_tensors(node: Any) -> Any:
    """The same tree, each tensor in a storage of its own."""
    if type(node) in (torch.Tensor, torch.nn.Parameter):
        return node.clone()
    if type(node) in (dict, OrderedDict, Counter):
        made = type(node)()
        for key, value in node.items():  # one by one: a Counter would count pairs
            made[key] = own_tensors(value)
        return made
    if type(node) in (list, tuple):
        return type(node)(own_tensors(value) for value in node)
    return part_by_part(node, own_tensors)
