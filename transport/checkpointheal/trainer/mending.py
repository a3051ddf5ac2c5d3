"""Which wrappers hold a stable group, can they outlive an epoch, and how are they brought to where a step can begin?

A wrapper that an error has left in the middle of a step goes on from there, silently wrong. Must not know epochs, nor
what is inside a group.
"""

import gc
from collections.abc import Iterable, Iterator

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from checkpointheal.errors import BucketsRebuilt, HookCounts, TorchTooOld
from checkpointheal.trainer.known_modules import known_modules
from checkpointheal.trainer.stable_group import StableGroup

try:
    from torch.distributed.fsdp import FSDPModule
except ImportError:  # torch before 2.6
    FSDPModule = None  # type: ignore[assignment,misc]


def require_survivable(modules: Iterable[nn.Module]) -> None:
    """Raise BucketsRebuilt, HookCounts or TorchTooOld, by name, for one that cannot go on when a member comes back."""
    if any(_flaws()):
        gc.collect()  # one that its owner has let go of is nobody's wrapper any more
        for flaw in _flaws():
            raise flaw
    if any(_fsdp_parts(modules)) and not hasattr(FSDPModule, "reset_iter_state"):
        raise TorchTooOld(
            "this torch has no FSDPModule.reset_iter_state, without which FSDP2 is silently wrong after an error in "
            "the middle of a step: use a newer torch, or restore() in place of epochs()"
        )


def mend(modules: Iterable[nn.Module]) -> None:
    """Have every wrapper forget the step that it was in."""
    for ddp in _ddps():
        ddp.reducer._reset_state()  # noqa: SLF001 torch has no public word for it
        # Left in a micro-batch it would not ask for the first rank's buffers, and a member that comes back does.
        ddp.require_forward_param_sync = True
    for module in _fsdp_roots(modules):
        module.reset_iter_state()


def _flaws() -> Iterator[BucketsRebuilt | HookCounts]:
    """What keeps a DDP from going on."""
    for ddp in _ddps():
        if not ddp.find_unused_parameters or ddp.static_graph:
            yield BucketsRebuilt(
                f"the DDP around {type(ddp.module).__name__} gives its gradients other buckets after its first step, "
                "and a member that comes back would still have the first ones: pass find_unused_parameters=True and "
                "leave static_graph out"
            )
        if (hook := next(_counting_hooks(ddp), None)) is not None:
            yield HookCounts(
                f"the DDP around {type(ddp.module).__name__} has the hook {hook}, which counts its steps: a member "
                "that comes back counts from 0 and asks for other collectives than its peers, over which gloo ends the "
                "process: use one without a state, as fp16_compress_hook, or restore() in place of epochs()"
            )


def _counting_hooks(ddp: DistributedDataParallel) -> Iterator[str]:
    """By name those that go by a count in their state, as PowerSGD and local SGD: torch tells a hook's name alone."""
    for hook, state in getattr(ddp, "_comm_hooks", ()):
        if isinstance(getattr(state, "iter", None), int):
            yield f"{getattr(hook, '__name__', type(hook).__name__)} with a {type(state).__name__}"


def _ddps() -> Iterator[DistributedDataParallel]:
    for each in known_modules().living():
        if isinstance(each, DistributedDataParallel) and isinstance(each.__dict__.get("process_group"), StableGroup):
            yield each


def _fsdp_roots(modules: Iterable[nn.Module]) -> Iterator["FSDPModule"]:
    """Those that have run: before its first forward nobody knows which one is the root, and nothing is to be mended."""
    return (part for part in _fsdp_parts(modules) if part._get_fsdp_state()._is_root)  # noqa: SLF001 no public word


def _fsdp_parts(modules: Iterable[nn.Module]) -> Iterator["FSDPModule"]:
    if FSDPModule is not None:
        for module in modules:
            yield from (part for part in module.modules() if isinstance(part, FSDPModule))
