"""The two ends of a transfer: where chunks come from, and where they go."""

from checkpointheal.ends.ends import WINDOW, Sink, Source, Terms

__all__ = ["WINDOW", "Sink", "Source", "Terms"]
