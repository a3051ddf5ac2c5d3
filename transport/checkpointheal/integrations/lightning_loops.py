"""Where in its loops does a Lightning Trainer stand, and how is it put back there?

All that is known here of Lightning's inside, which it has no public word for. Must not know what is kept, or where.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from checkpointheal.errors import Misuse
from checkpointheal.integrations.orders import REMEDY, drawn_anew

AT_EPOCH = "epoch"
"""Between two epochs: the loaders have not begun the next."""


class Loops:
    """The fit loop of one Trainer."""

    def __init__(self, trainer: Any) -> None:
        self._fit = trainer.fit_loop

    def is_last_batch(self) -> bool:
        """Whether the batch that was computed last ends its epoch."""
        return bool(self._fit.epoch_loop._num_ready_batches_reached())  # noqa: SLF001

    def something_follows(self) -> bool:
        """Whether a validation or the end of the epoch comes before the next batch, or the update is not made yet."""
        epoch = self._fit.epoch_loop
        return bool(
            self.is_last_batch() or epoch._should_accumulate() or epoch._should_check_val_fx(self._fit._data_fetcher)  # noqa: SLF001
        )

    def load(self, state: dict[str, Any], at: str, generators: Sequence[torch.Tensor]) -> None:
        """Put the loaders where they were.

        The Trainer has done so itself, but before it told the samplers their epoch: an iterator that exists by then
        goes through the order of another one.
        """
        for loader in self.loaders():
            for sampler in _samplers(loader):
                if callable(set_epoch := getattr(sampler, "set_epoch", None)):
                    set_epoch(self._fit.epoch_progress.current.processed)
        states = state["fit_loop"]["state_dict"].get("combined_loader", [])
        self._fit._combined_loader._load_state_dicts(_over(states) if at == AT_EPOCH else states)  # noqa: SLF001
        if at == AT_EPOCH:
            self._finish(generators)
        iter(self._fit._data_fetcher)  # noqa: SLF001
        if at != AT_EPOCH:
            self._continue(generators)

    def _finish(self, generators: Sequence[torch.Tensor]) -> None:
        """Make the iterators of the epoch that is over: those of the next draw from where the generators were then."""
        for loader in self.loaders():
            loader.state_dict()
        self._continue(generators)
        for sampler in (sampler for loader in self.loaders() for sampler in _samplers(loader)):
            if hasattr(sampler, "next_yielded"):
                sampler.next_yielded = None  # torchdata would leave out of the next epoch what the last one has yielded

    def _continue(self, generators: Sequence[torch.Tensor]) -> None:
        for generator, state in zip(self._generators(), generators, strict=False):
            generator.set_state(state)

    def generators(self) -> list[torch.Tensor]:
        """Where the loaders' own are."""
        return [each.get_state() for each in self._generators()]

    def _generators(self) -> list[torch.Generator]:
        return [each for loader in self.loaders() if (each := getattr(loader, "generator", None)) is not None]

    def draw_as_iterators_do(self, at: str) -> None:
        """Each iterator that is made anew for an epoch draws a seed: from the process's stream where it has no own."""
        for loader in self.loaders() if at == AT_EPOCH else ():
            if getattr(loader, "generator", None) is None and not getattr(loader, "persistent_workers", False):
                torch.empty((), dtype=torch.int64).random_()

    def reads_ahead(self) -> bool:
        """Whether a batch is read before the one before it is computed."""
        return self._fit._data_fetcher.length is None  # noqa: SLF001

    def loaders(self) -> list[Any]:
        """All that the fit loop reads from."""
        return list(self._fit._combined_loader.flattened)  # noqa: SLF001

    @staticmethod
    def at_epoch(state: dict[str, Any]) -> dict[str, Any]:
        """The state of all loops with what the epoch counts at zero.

        A Trainer does that at the beginning of an epoch, unless it is one that it was restored into.
        """
        state = copy.deepcopy(state)
        fit = state["fit_loop"]
        for name in _COUNTED:
            for progress in _currents(fit.get(name, {})):
                progress.update(dict.fromkeys(progress, 0))
        fit["epoch_loop.batch_progress"]["is_last_batch"] = False
        return state


def _over(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Said to have ended, which a loader does only once it was asked for more than its last batch.

    It would go on with what is left, which is nothing, and the whole next epoch would be left out.
    """
    return [{**each, _ENDED: True} if _ENDED in each else each for each in states]


_ENDED = "_iterator_finished"
"""As torchdata calls it."""
_COUNTED = (
    "epoch_loop.batch_progress",
    "epoch_loop.scheduler_progress",
    "epoch_loop.automatic_optimization.optim_progress",
)


def _currents(progress: Any) -> Iterator[dict[str, int]]:
    for name, each in progress.items() if isinstance(progress, dict) else ():
        if name == "current":
            yield each
        else:
            yield from _currents(each)


def _samplers(loader: Any) -> list[Any]:
    batches = getattr(loader, "batch_sampler", None)
    return [each for each in (getattr(loader, "sampler", None), getattr(batches, "sampler", None)) if each is not None]


def require_resumable(trainer: Any) -> None:
    """Raises Misuse that names the loader or the schedule which cannot be taken up in the middle."""
    loops = Loops(trainer)
    for loader in loops.loaders():
        _require_position(loader)
    if len(loops.loaders()) > 1:
        raise Misuse("there are several train dataloaders, and which of them began anew is in no checkpoint: pass one")
    if loops.reads_ahead():
        raise Misuse("the train dataloader has no length, so Lightning reads a batch ahead, which a heal would lose")
    if any(each.reduce_on_plateau for each in trainer.lr_scheduler_configs):
        raise Misuse("a ReduceLROnPlateau waits for a metric, which no Lightning checkpoint holds: it cannot be healed")


def _require_position(loader: Any) -> None:
    if not (hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")):
        raise Misuse(
            f"the train dataloader is a {type(loader).__name__}, which does not know its position: use torchdata's "
            "StatefulDataLoader (pip install torchdata), which is made as a DataLoader is"
        )
    if any(type(sampler).__name__ == "DistributedSamplerWrapper" for sampler in _samplers(loader)):
        raise Misuse(f"the train dataloader has a DistributedSamplerWrapper, {REMEDY}")
    if drawn := drawn_anew(loader):
        raise Misuse(f"the train dataloader has {drawn}, {REMEDY}")
