"""The library inside the user's training process: small, and never in the way of training."""

from checkpointheal.trainer.epoch import Epoch
from checkpointheal.trainer.groups import process_group
from checkpointheal.trainer.heal import Heal, attach

__all__ = ["Epoch", "Heal", "attach", "process_group"]
