"""How much longer does a donor's training step take while it serves as many recipients as it may at a time?

One trainer with one thread, its agent, and two agents that receive its newest state again and again, over TLS. Blocks
of steps without transfers, with them, and with them under a cap take turns: what disturbs one disturbs the other.
"""

from bench.fanout.rounds import rows

__all__ = ["rows"]
