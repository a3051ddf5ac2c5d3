"""Who hears that an optimizer's update begins, and in which process?

A fork has the trainer's objects alone, hooks and exit handlers too, but no thread that copies, no word with the agent,
no lock on the arena: there they do nothing. Must not know what they are for.
"""

import os
from collections.abc import Callable, Iterable

from torch.optim import Optimizer

from checkpointheal.errors import Misuse
from checkpointheal.trainer.parts import Parts


def before_updates(optimizers: Iterable[Optimizer], act: Callable[[], None]) -> None:
    """From now on each `step()` of these begins with it."""
    hook = in_this_process(act)
    for optimizer in optimizers:
        optimizer.register_step_pre_hook(hook)


def in_this_process(act: Callable[[], None]) -> Callable[..., None]:
    """The same, and nothing in a fork of this process."""
    here = os.getpid()

    def act_here(*_: object) -> None:
        if os.getpid() == here:
            act()

    return act_here


def require_watched(parts: Parts, asked: str) -> None:
    """Raises Misuse for an optimizer whose step() tells nobody that it begins: one around another, past torch's own."""
    for name, optimizer in parts.optimizers.items():
        try:
            optimizer.register_step_pre_hook(_nothing).remove()
        except AttributeError as error:
            raise Misuse(
                f"{name} is a {type(optimizer).__name__} that torch's Optimizer.__init__ has not set up: it does not "
                f"tell {asked} that an update begins: give the optimizer inside it"
            ) from error


def _nothing(*_: object) -> None:
    """Only to see whether it can be heard."""
