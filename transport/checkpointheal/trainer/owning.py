"""What may be handed to a `load_state_dict` of somebody else's?

Never a view of our memory: an object may keep what it is given while the arena is overwritten, and torch's own
`Generator.set_state` ends the process when its tensor does not begin its storage.
"""

import copy
from typing import Any

import torch


def own_tensors(node: Any) -> Any:
    """The same tree, each tensor in a storage of its own."""
    if isinstance(node, torch.Tensor):
        return node.clone()
    if isinstance(node, dict):
        made = copy.copy(node)  # of its class, with what else it has: a default factory
        made.clear()
        for key, value in node.items():  # one by one: a Counter would count pairs
            made[key] = own_tensors(value)
        return made
    if isinstance(node, list):
        return [own_tensors(value) for value in node]
    if isinstance(node, tuple) and type(node) is not torch.Size:
        owned = [own_tensors(value) for value in node]
        return type(node)._make(owned) if hasattr(node, "_make") else tuple(owned)
    return node
