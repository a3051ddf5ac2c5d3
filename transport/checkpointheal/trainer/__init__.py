"""The library inside the user's training process: small, and never in the way of training."""

from checkpointheal.trainer.heal import Heal, attach

__all__ = ["Heal", "attach"]
