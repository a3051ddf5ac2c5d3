"""A Python that has imported the heavy modules already, and that trainers are forked from.

What both sides have to know: `checkpointheal.run` starts it, `checkpointheal.warm.nursery` is what it does. Light, for
`run` stays light.
"""

from pathlib import Path

HOOK = Path(__file__).with_name("hook")
"""The folder that PYTHONPATH begins with, so that Python's own start comes by before it runs the user's command."""
ORDERS = "CHECKPOINTHEAL_WARM"
"""Variable of a warm process: the descriptor of its line to `run`, `run`'s pid, its manner, the modules to import."""
PATIENT, EAGER = "patient", "eager"
"""Its manner: whether it gives way to a trainer beside it."""
WORD_LIMIT = 4096
"""Bytes of one word, either way."""
READY = "ready"
COLD = "cold"
"""First word of a warm process that must not be forked from; the rest is the reason."""
