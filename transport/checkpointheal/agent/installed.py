"""Which torch will this agent's transfers run with?

Answered without importing it: that takes seconds, and the agent itself never needs it.
"""

import functools

from checkpointheal.contract.installed import version_of


@functools.cache
def torch_version() -> str:
    """As its package says, such as `2.15.0`; empty where nothing says it."""
    return version_of("torch")
