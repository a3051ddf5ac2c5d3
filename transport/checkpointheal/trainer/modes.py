"""In which mode, training or evaluation, was each module at the step that a survivor goes back to?

No state dict tells it, and a peer may be lost while a survivor evaluates: it would train on without dropout. Must not
know epochs.
"""

import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator

from torch import nn

from checkpointheal.trainer.known_modules import known_modules

KEPT = 64
"""Times that modes have changed between commits: nobody goes back further."""

_Found = list[Callable[[], nn.Module | None]]
"""Held weakly: nobody's module may stay for this."""


class Modes:
    """Of these modules, of all that is in them, and of whatever they are wrapped in."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._modules = list(modules)
        self._found: _Found = []
        self._noted: deque[tuple[int, _Found, list[bool | None]]] = deque(maxlen=KEPT)

    def look(self) -> None:
        """Find them anew: what the program has wrapped, or put in, since."""
        self._found = [weakref.ref(each) for each in _within([*_wrappers_of(self._modules), *self._modules])]

    def note(self, step: int) -> None:
        """They are those of this step. In each commit, so it is a glance at each module and no more."""
        modes = [getattr(each(), "training", None) for each in self._found]
        while self._noted and self._noted[-1][0] >= step:
            self._noted.pop()
        if not self._noted or self._noted[-1][1] is not self._found or self._noted[-1][2] != modes:
            self._noted.append((step, self._found, modes))

    def put_back(self, step: int | None) -> None:
        """Those of this step; None: those that the first epoch began with. A process that noted none keeps its own."""
        while len(self._noted) > 1 and (step is None or self._noted[-1][0] > step):
            self._noted.pop()
        if not self._noted:
            return
        _, found, modes = self._noted[-1]
        pairs = [(module, mode) for each, mode in zip(found, modes, strict=True) if (module := each()) is not None]
        for module, mode in pairs:
            if mode is not None and module.training != mode:
                module.train(mode)  # one whose eval() merges its weights has to hear that it trains again
        for module, mode in pairs:
            if mode is not None and module.training != mode:
                module.training = mode  # and what is in it may have been otherwise


def _wrappers_of(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Whatever holds one of these at any depth, as a DDP: `attach` was given what is inside."""
    there = known_modules().living()
    known, wrappers = {id(each) for each in modules}, list[nn.Module]()
    while found := [each for each in there if id(each) not in known and _holds(each, known)]:
        wrappers += found
        known.update(map(id, found))
    return wrappers


def _holds(module: nn.Module, known: Collection[int]) -> bool:
    return any(id(each) in known for each in module.__dict__.get("_modules", {}).values())


def _within(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Each once."""
    seen: set[nn.Module] = set()
    for module in modules:
        yield from (each for _, each in module.named_modules(seen))
