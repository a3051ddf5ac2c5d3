"""Which of a state may be copied while the training loop goes on, and where must the loop wait for that copy?

Between two updates nothing writes weights, nor what an optimizer keeps of them: forward and backward only read. So the
loop waits in the next `step()` of an optimizer, and not in `commit`. What anything else may write, a buffer, an average
of the weights, a part of the user's, is not copied in the background. Must not know where a copy goes.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import compress

import torch

from checkpointheal.contract.layout import Schema
from checkpointheal.errors import Misuse
from checkpointheal.manifest import Described
from checkpointheal.manifest.wholes import local_of
from checkpointheal.trainer.parts import Parts


def require_optimizer(parts: Parts) -> None:
    """Raises Misuse where none would tell when an update begins."""
    if not parts.optimizers:
        raise Misuse(
            "attach(background=True) was given no torch.optim.Optimizer: the copy has to end before its step()"
        )


class Background:
    """One copy at a time beside the training loop."""

    def __init__(self, parts: Parts) -> None:
        self._optimizers = tuple(f"{name}." for name in parts.optimizers)
        self._parameters = frozenset(_updated(parts))
        self._pool = ThreadPoolExecutor(1, "checkpointheal-copy")
        self._under_way: Future[None] | None = None
        self._rested: tuple[Schema, Sequence[bool]] | None = None
        for optimizer in parts.optimizers.values():
            optimizer.register_step_pre_hook(lambda *_: self.wait())

    def rests(self, described: Described) -> Sequence[bool]:
        """For each region, whether nothing but an update writes it."""
        if self._rested is None or self._rested[0] is not described.schema:
            self._rested = described.schema, self._find_rested(described.schema)
        return self._rested[1]

    def start(self, copy: Callable[[], None], devices: Iterable[torch.device]) -> None:
        """Run it beside the loop; on a device, behind what the loop has queued there so far.

        What it raises is raised where the loop waits for it.
        """
        self._under_way = self._pool.submit(_beside, copy, list(_streams(devices)))

    def wait(self) -> None:
        """Until the copy under way is whole, or was given up."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def _find_rested(self, schema: Schema) -> Sequence[bool]:
        rested = [True] * len(schema.regions)
        for path, region in zip(schema.tensors.paths, schema.tensors.regions, strict=True):
            rested[region] &= path in self._parameters or path.startswith(self._optimizers)
        return rested


def _updated(parts: Parts) -> Iterator[str]:
    """Paths of the parameters that the optimizers write: those of an average of the weights are its own."""
    groups = [group for optimizer in parts.optimizers.values() for group in optimizer.param_groups]
    written = {id(parameter) for group in groups for parameter in group["params"]}
    for part, module in parts.modules.items():
        for name, parameter in module.named_parameters(remove_duplicate=False):
            if id(parameter) in written:
                yield f"{part}.{name}"


class Watch:
    """Whether tensors were written since then, by anything that torch counts: not through `.data`, nor from outside."""

    def __init__(self, described: Described, regions: Sequence[bool]) -> None:
        """Of those that lie in these regions."""
        watched = [regions[region] for region in described.schema.tensors.regions]
        self._paths = list(compress(described.leaves.paths, watched))
        self._tensors = list(compress(described.leaves.tensors, watched))
        self._versions = list(map(_version, self._tensors))

    def written(self) -> str | None:
        """The path of one that was."""
        each = zip(self._paths, self._versions, map(_version, self._tensors), strict=True)
        return next((path for path, then, now in each if then != now), None)


def _version(tensor: torch.Tensor) -> int:
    local = local_of(tensor)
    return 0 if local.is_inference() else local._version  # noqa: SLF001


def _streams(devices: Iterable[torch.device]) -> Iterator[torch.cuda.Stream]:
    for device in devices:
        if device.type == "cuda":
            stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream(device))
            yield stream


def _beside(copy: Callable[[], None], streams: Iterable[torch.cuda.Stream]) -> None:
    with contextlib.ExitStack() as stack:
        for stream in streams:
            stack.enter_context(torch.cuda.stream(stream))
        copy()
