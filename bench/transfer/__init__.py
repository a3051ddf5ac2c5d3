"""How long does a state dict take from one process to another, by our transport and by what else people use?

Two processes of one machine, over its loop-back, all ways in turns on the same bytes: what disturbs one disturbs the
other, and ratios count.
"""

from bench.transfer.rounds import rows

__all__ = ["rows"]
