"""The library inside the user's training process: small, and never in the way of training."""

from checkpointheal.trainer.attaching import attach
from checkpointheal.trainer.epoch import Epoch
from checkpointheal.trainer.groups import process_group
from checkpointheal.trainer.heal import Heal

__all__ = ["Epoch", "Heal", "attach", "process_group"]
