"""What is this trainer's state: which objects hold it, and which of it may come from another rank?

*Replicated* leaves are equal on every peer and may come from any of them. *Private* leaves belong to one rank: random
streams, data position, and the running statistics of BatchNorm and InstanceNorm, which each rank computes from its own
batches. Must not know the arena or the agent.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch.optim import Optimizer

from checkpointheal.errors import Misuse
from checkpointheal.manifest import comes_back, owner_of
from checkpointheal.trainer import streams
from checkpointheal.trainer.mistaken import unfit
from checkpointheal.trainer.own_statistics import statistics_of


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
    buffers: Mapping[str, Mapping[str, str]]
    """Keys, in each module's state dict, of its per-rank statistics, each with its buffer's name in the module.

    Parts without any are left out."""
    untold: tuple[str, ...] = ()
    """Per-rank statistics that a module has and its state dict does not tell."""

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
        buffers = {name: self._buffers_of(name) for name in self.buffers}
        own_parts = {name: _plain(part.state_dict()) for name, part in self.private.items()}
        return {"streams": streams.capture(), "parts": own_parts, "buffers": buffers, "trained": self.trained}

    def put_back_private(
        self,
        state: Mapping[str, Any],
        lost: Collection[str] = (),
        load: Callable[[str, Stateful, Any], None] = lambda name, part, kept: part.load_state_dict(kept),
    ) -> None:
        """Give each private part its state back; the streams last, because loading may draw from them.

        `state` is theirs to keep: nobody else's memory, and nothing that is read again. `lost`: parts whose state was
        kept and cannot be had; they stay as they are. `load` is called with the name of each other, it and its state.
        Raises Misuse, by name and before anything is changed, where other parts were declared when it was kept, or
        buffers of other shapes, or numpy drew by another bit generator.
        """
        _check_names("private", {*state["parts"], *lost}, self.private)
        _check_names("replicated", state["buffers"], self.replicated, all_of_them=False)
        live = {name: self._buffers_of(name) for name in state["buffers"]}
        for name, buffers in state["buffers"].items():
            _check_buffers(name, buffers, live[name])
        streams.check(state["streams"])
        for name, buffers in state["buffers"].items():
            with torch.no_grad():
                for key, value in buffers.items():
                    live[name][key].copy_(value)
        for name, kept in state["parts"].items():
            load(name, self.private[name], kept)
        streams.put_back(state["streams"])

    def _buffers_of(self, name: str) -> dict[str, torch.Tensor]:
        """The module's own, by the keys of its state dict, which may tell copies."""
        if (module := self.modules.get(name)) is None:
            return {}
        held, keys = dict(module.named_buffers(remove_duplicate=False)), self.buffers.get(name, {})
        return {key: held[own] for key, own in keys.items() if own in held}


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
    found = {name: statistics_of(part) for name, part in replicated.items()}
    buffers = {name: each.keys for name, each in found.items() if each.keys}
    untold = tuple(f"{name}.{own}" for name, each in found.items() for own in each.untold)
    return Parts(dict(replicated), dict(private), buffers, untold)


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
    """A mapping of a kind that is not known everywhere crosses as a dict."""
    return dict(state) if isinstance(state, Mapping) and not comes_back(state) else state


def _without(state: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key not in keys}


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
