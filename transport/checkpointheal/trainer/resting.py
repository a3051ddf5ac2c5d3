"""Which of a state does nothing but an update write, and was it written all the same?

Between two updates nothing writes weights, nor what an optimizer keeps of them: forward and backward only read. What
anything else may write, a buffer, an average of the weights, a part of the user's, does not rest. Must not know what is
made of it.
"""

from collections.abc import Iterator, Sequence
from itertools import compress

import torch

from checkpointheal.contract.layout import Schema
from checkpointheal.errors import Misuse
from checkpointheal.manifest import Described
from checkpointheal.manifest.wholes import local_of
from checkpointheal.trainer.parts import Parts, parameters_of
from checkpointheal.trainer.updates import require_watched


def require_optimizer(parts: Parts, asked: str) -> None:
    """Raises Misuse where none would tell when an update begins; `asked` is the option that needs it."""
    if not parts.optimizers:
        raise Misuse(
            f"attach({asked}=True) was given no torch.optim.Optimizer, whose step() tells when weights begin to change"
        )
    require_watched(parts, f"attach({asked}=True)")


class Resting:
    """What rests between two updates of these parts."""

    def __init__(self, parts: Parts) -> None:
        self._optimizers = tuple(f"{name}." for name in parts.optimizers)
        self._parameters = frozenset(_updated(parts))
        self._found: tuple[Schema, Sequence[bool]] | None = None

    def of(self, described: Described) -> Sequence[bool]:
        """For each region, whether nothing but an update writes it."""
        if self._found is None or self._found[0] is not described.schema:
            self._found = described.schema, self._find(described.schema)
        return self._found[1]

    def _find(self, schema: Schema) -> Sequence[bool]:
        rested = [True] * len(schema.regions)
        for path, region in zip(schema.tensors.paths, schema.tensors.regions, strict=True):
            rested[region] &= path in self._parameters or path.startswith(self._optimizers)
        return rested


class Watch:
    """Whether tensors were written since then, by anything that torch counts: not through `.data`, nor from outside."""

    def __init__(self, paths: Sequence[str], tensors: Sequence[torch.Tensor]) -> None:
        self._paths, self._tensors = paths, tensors
        self._versions = self._now()

    @classmethod
    def of(cls, described: Described, regions: Sequence[bool]) -> "Watch":
        """Those that lie in these regions."""
        watched = [regions[region] for region in described.schema.tensors.regions]
        leaves = compress(zip(described.leaves.paths, described.leaves.tensors, strict=True), watched)
        locals_ = [(path, local_of(tensor)) for path, tensor in leaves]
        counted = [(path, local) for path, local in locals_ if not local.is_inference()]
        return cls([path for path, _ in counted], [local for _, local in counted])

    def anew(self) -> "Watch":
        """Over the same ones, from now on."""
        return Watch(self._paths, self._tensors)

    def written(self) -> str | None:
        """The path of one that was."""
        each = zip(self._paths, self._versions, self._now(), strict=True)
        return next((path for path, then, now in each if then != now), None)

    def _now(self) -> list[int]:
        return [each._version for each in self._tensors]  # noqa: SLF001


def _updated(parts: Parts) -> Iterator[str]:
    """Paths of the parameters that the optimizers write: those of an average of the weights are its own."""
    written = {id(parameter) for optimizer in parts.optimizers.values() for parameter in parameters_of(optimizer)}
    for part, module in parts.modules.items():
        for name, parameter in module.named_parameters(remove_duplicate=False):
            if id(parameter) in written:
                yield f"{part}.{name}"
