"""What may be told of a process from outside, by its name in the kernel.

Must not import anything: it is read in every trainer before the user's first line.
"""

WARM = "ckpt-warm"
"""A process that waits to become a trainer. It leads a group and is `run`'s child, as the trainer is."""
