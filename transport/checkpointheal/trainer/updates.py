"""Who hears that an optimizer's update begins, and in which process?

A fork has the trainer's objects alone, hooks and exit handlers too, but no thread that copies, no word with the agent,
no lock on the arena: there they do nothing. Must not know what they are for.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.optim import Optimizer

from checkpointheal.errors import Misuse
from checkpointheal.trainer.parts import Parts

_Called = tuple[tuple[Any, ...], dict[str, Any]]


def before_updates(
    optimizers: Iterable[Optimizer], act: Callable[[], None], *, waits_for_closure: bool = False
) -> None:
    """From now on each `step()` of these begins with it, and each closure that makes the gradients in there ends so.

    `waits_for_closure`: where there is one, it is not done before.
    """
    act_here = in_this_process(act)

    def hook(_: object, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> _Called | None:
        behind = _with_closure_before(act_here, arguments, named)
        if behind is None or not waits_for_closure:
            act_here()
        return behind

    for optimizer in optimizers:
        optimizer.register_step_pre_hook(hook)


def _with_closure_before(
    act: Callable[[], None], arguments: tuple[Any, ...], named: Mapping[str, Any]
) -> _Called | None:
    """How `step` is to be called so that its closure, which is the first argument behind self, ends with it."""

    def behind(closure: Callable[[], Any]) -> Callable[[], Any]:
        def call() -> Any:
            loss = closure()
            act()
            return loss

        return call

    if callable(closure := named.get("closure")):
        return arguments, {**named, "closure": behind(closure)}
    if len(arguments) > 1 and callable(arguments[1]):
        return (arguments[0], behind(arguments[1]), *arguments[2:]), dict(named)
    return None


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
