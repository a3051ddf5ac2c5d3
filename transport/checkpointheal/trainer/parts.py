"""What is this trainer's state: which objects hold it, and which of it may come from another rank?

*Replicated* leaves are equal on every peer and may come from any of them. *Private* leaves belong to one rank: random
streams, data position, and the running statistics of BatchNorm and InstanceNorm, which each rank computes from its own
batches. Must not know the arena or the agent.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch.nn.modules.batchnorm import SyncBatchNorm, _NormBase
from torch.optim import Optimizer

from checkpointheal.errors import Misuse
from checkpointheal.trainer import streams
from checkpointheal.trainer.mistaken import unfit


@runtime_checkable
class Stateful(Protocol):
    """Anything with `state_dict()` and `load_state_dict()`."""

    def state_dict(self) -> Mapping[str, Any]:
        """The object's state; tensors in it share the object's memory where they can."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Take such a state over."""
        ...


@dataclass(frozen=True)
class Parts:
    """The declared objects. Fixed when the trainer attaches: comparing replicas could not tell private from corrupt."""

    replicated: Mapping[str, Stateful]
    private: Mapping[str, Stateful]
    buffers: Mapping[str, frozenset[str]]
    """Keys, in each module's state dict, of its per-rank statistics; parts without any are left out."""

    @property
    def optimizers(self) -> Mapping[str, Optimizer]:
        """Those of torch's kind, by the names of their parts."""
        parts: Mapping[str, object] = self.replicated
        return {name: part for name, part in parts.items() if isinstance(part, Optimizer)}

    @property
    def trained(self) -> dict[str, bytes]:
        """Of each optimizer's parameters, in its order, whether they train: one byte for each."""
        return {
            name: bytes(parameter.requires_grad for parameter in parameters_of(optimizer))
            for name, optimizer in self.optimizers.items()
        }

    @property
    def scalers(self) -> tuple[torch.amp.GradScaler, ...]:
        """Those of torch's kind."""
        parts: Iterable[object] = self.replicated.values()
        return tuple(part for part in parts if isinstance(part, torch.amp.GradScaler))

    @property
    def may_be_behind(self) -> bool:
        """Whether private parts of an earlier step may stand beside a later state: none of them counts steps.

        One that does says so by an attribute, `bound_to_step = True`: its rank would make another number of updates
        than its peers.
        """
        return not any(getattr(part, "bound_to_step", False) for part in self.private.values())

    @property
    def modules(self) -> Mapping[str, torch.nn.Module]:
        """The same of modules."""
        return {name: part for name, part in self.replicated.items() if isinstance(part, torch.nn.Module)}

    def replicated_state(self) -> dict[str, Any]:
        """The tree that any peer could give, `{part: state_dict}`, tensors live."""
        return {
            name: _without(part.state_dict(), self.buffers[name]) if name in self.buffers else part.state_dict()
            for name, part in self.replicated.items()
        }

    def private_state(self) -> dict[str, Any]:
        """The tree that nobody else has: streams, data position, per-rank buffers."""
        buffers = {name: _only(self.replicated[name].state_dict(), own) for name, own in self.buffers.items()}
        own_parts = {name: _plain(part.state_dict()) for name, part in self.private.items()}
        return {"streams": streams.capture(), "parts": own_parts, "buffers": buffers, "trained": self.trained}

    def put_back_private(self, state: Mapping[str, Any], lost: Collection[str] = ()) -> None:
        """Give each private part its state back; the streams last, because loading may draw from them.

        `state` is theirs to keep: nobody else's memory, and nothing that is read again.
        `lost`: parts whose state was kept and cannot be had; they stay as they are. Raises Misuse, by name and before
        anything is changed, where other parts were declared when it was kept, or buffers of other shapes, or numpy drew
        by another bit generator.
        """
        _check_names("private", {*state["parts"], *lost}, self.private)
        _check_names("replicated", state["buffers"], self.replicated, all_of_them=False)
        live = {name: self.replicated[name].state_dict() for name in state["buffers"]}
        for name, buffers in state["buffers"].items():
            _check_buffers(name, buffers, live[name])
        streams.check(state["streams"])
        for name, buffers in state["buffers"].items():
            with torch.no_grad():
                for key, value in buffers.items():
                    live[name][key].copy_(value)
        for name, kept in state["parts"].items():
            self.private[name].load_state_dict(kept)
        streams.put_back(state["streams"])


def declare(replicated: Mapping[str, Any], private: Mapping[str, Any]) -> Parts:
    """Check what the user named; raises Misuse that names the part."""
    if not isinstance(private, Mapping):
        raise Misuse(
            f"private is a {type(private).__name__}: name its parts, as in attach(private={{'data': Position(loader)}})"
        )
    if not replicated:
        raise Misuse(
            "attach() was given nothing to protect: name the parts, as in attach(model=model, optimizer=optimizer)"
        )
    for name, part in [*replicated.items(), *private.items()]:
        if (wrong := unfit(name, part)) is not None:
            raise Misuse(wrong)
    _check_paths(replicated)
    buffers = {name: own for name, part in replicated.items() if (own := keys_of_this_rank(part))}
    return Parts(dict(replicated), dict(private), buffers)


def is_scheduled(group: Mapping[str, Any]) -> bool:
    """Whether a schedule was made for this group of an optimizer: it leaves a word there."""
    return "initial_lr" in group


def groups_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Somebody's own that is made around another one may have none."""
    groups: list[dict[str, Any]] = getattr(optimizer, "param_groups", [])
    return groups


def parameters_of(optimizer: Optimizer) -> list[torch.Tensor]:
    """What it updates, in the order by which its `state_dict()` numbers it."""
    return [parameter for group in groups_of(optimizer) for parameter in group["params"]]


def owner_of(path: str, names: Iterable[str]) -> str | None:
    """The part that a leaf belongs to; of declared names one at most fits."""
    return next((name for name in names if path == name or path.startswith(f"{name}.")), None)


def _check_paths(names: Collection[str]) -> None:
    """A leaf is told by its path, which begins with its part's name."""
    if "" in names:
        raise Misuse("a part has no name: name it, as in attach(model=model)")
    for name in names:
        if (other := owner_of(name, [each for each in names if each != name])) is not None:
            raise Misuse(
                f"what lies in the parts {other!r} and {name!r} would have the same name: call one of them otherwise"
            )


def as_declared(path: str) -> str:
    """How the user calls what `private_state` tells by this path."""
    kind, _, rest = path.partition(".")
    return {"parts": f"private part {rest}", "buffers": rest}.get(kind, path)


def _plain(state: Any) -> Any:
    """A mapping of whatever kind crosses as a dict."""
    return dict(state) if isinstance(state, Mapping) else state


def keys_of_this_rank(part: object) -> frozenset[str]:
    """Keys of a module's state dict that hold per-rank statistics; none of anything else's."""
    return frozenset(_statistics_keys(part)) if isinstance(part, torch.nn.Module) else frozenset()


def _statistics_keys(module: torch.nn.Module) -> Iterator[str]:
    """Of BatchNorm and InstanceNorm, under each name that a module has: `state_dict()` tells all of them."""
    for prefix, child in module.named_modules(remove_duplicate=False):
        if isinstance(child, _NormBase) and not isinstance(child, SyncBatchNorm):
            for name, _ in child.named_buffers(recurse=False):
                yield f"{prefix}.{name}" if prefix else name


def _without(state: Mapping[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key not in keys}


def _only(state: Mapping[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key in keys}


def _check_names(kind: str, kept: Collection[str], declared: Collection[str], *, all_of_them: bool = True) -> None:
    if unknown := sorted(set(kept) - set(declared)):
        raise Misuse(f"the kept state has the {kind} part {unknown[0]!r}, which attach() was not given")
    if all_of_them and (missing := sorted(set(declared) - set(kept))):
        raise Misuse(f"attach() was given the {kind} part {missing[0]!r}, which the kept state does not have")


def _check_buffers(name: str, kept: Mapping[str, torch.Tensor], live: Mapping[str, Any]) -> None:
    """`copy_` would fill a buffer of four with a kept one of one, without a word."""
    for key, value in kept.items():
        if key not in live:
            raise Misuse(f"the kept state has the buffer {name}.{key}, which the module does not have")
        if value.shape != live[key].shape:
            shapes = f"shape {tuple(value.shape)}, and has {tuple(live[key].shape)} here"
            raise Misuse(f"{name}.{key} was kept with {shapes}: make the module as it was made then")
