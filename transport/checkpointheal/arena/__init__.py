"""The arena's door: sealed generations of a training state, in memory that outlives the trainer."""

from checkpointheal.arena.arena import Arena
from checkpointheal.arena.reading import Reading
from checkpointheal.arena.writing import Writing

__all__ = ["Arena", "Reading", "Writing"]
