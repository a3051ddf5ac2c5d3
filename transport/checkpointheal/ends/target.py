"""Does an offered state fit a live one, and how does the live one become it?

From regions that are whole and verified: the live ones themselves, or staged ones. Must not know how the bytes came.
"""

import contextlib
import functools
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import torch
from pydantic import JsonValue

from checkpointheal.contract.cut import Piece
from checkpointheal.contract.layout import Difference, Manifest, Schema, TensorEntry
from checkpointheal.ends import mixed
from checkpointheal.ends.leaves import view_of
from checkpointheal.ends.owned import Owned, elements, is_solid
from checkpointheal.ends.spoil import spoil
from checkpointheal.errors import SchemaDiffers
from checkpointheal.manifest import Described, around, compare, describe, lie_alike, values, write_over
from checkpointheal.manifest.dtypes import BY_NAME
from checkpointheal.manifest.lenient import Plan, plan
from checkpointheal.manifest.reach import is_dense, may_overlap_itself, reach
from checkpointheal.manifest.wholes import local_of


class Target:
    """A live state that what is offered must fit."""

    bridged: tuple[Difference, ...] = ()

    def __init__(self, state: Any) -> None:
        """Raises UnsupportedLeaf that names a leaf that cannot be filled."""
        self.live: Described = describe(state)
        self.owned = Owned(self.live.schema)
        self._is_touched = False

    @property
    def filled(self) -> Sequence[torch.Tensor]:
        """The live memory that holds what came, once it is filled: all of it."""
        return self.live.regions

    def settle(self) -> None:
        """Let all that this thread has queued on its devices come to an end: another one writes there from now on.

        On a stream that nothing but a wait puts behind one that the program has chosen.
        """
        for device in self.live.seen.devices:
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()

    def lies_like(self, offered: Schema) -> bool:
        """Whether region by region is tensor by tensor."""
        return lie_alike(offered, self.live.schema)

    def require_fit(self, offered: Manifest) -> Collection[int]:
        """The regions that are needed: all. Raises SchemaDiffers, naming each difference, or ClassDiffers."""
        if differences := compare(offered.schema_, self.live.schema, memory=False):
            raise SchemaDiffers(differences)
        _rehearse(self.live, offered.schema_.tree, [values.decode(value) for value in offered.values])
        return range(len(offered.schema_.regions))

    def fill(self, manifest: Manifest, regions: Sequence[torch.Tensor]) -> Any:
        """Copy verified regions into live memory, where they are not it; the state dict with the target's tensors."""
        plain = [values.decode(value) for value in manifest.values]
        self._is_touched = regions is not self.live.regions
        if not self._is_touched:
            pass
        elif self.lies_like(manifest.schema_) and not self.owned.gapped:
            write_over(self.live, regions)
        else:
            for index, entry in enumerate(manifest.schema_.each_tensor):
                _copy_bytes(self.live, index, entry, regions)
        return around(self.live, manifest.schema_.tree, plain)

    def give_up(self, error: BaseException) -> mixed.Memory:
        """Spoil what `fill` had begun to write to; the memory that is a mixture now."""
        return _spoiled(self.live, range(len(self.live.schema.tensors)), error) if self._is_touched else ()


class LenientTarget:
    """A live state that takes what bears its names. `bridged` tells the differences."""

    def __init__(self, state: Any) -> None:
        """Raises UnsupportedLeaf that names a leaf that cannot be filled."""
        self._live: Described = describe(state)
        self._plan = Plan((), (), (), ())
        self._is_touched = False

    @property
    def bridged(self) -> tuple[Difference, ...]:
        """What the offered state and this one differ in, known once it has been offered."""
        return self._plan.bridged

    @property
    def filled(self) -> Sequence[torch.Tensor]:
        """The live memory that holds what came, once it is filled: where it was bridged, what nothing was left in."""
        if not self._plan.bridged:
            return self._live.regions
        came = {ours for _, ours in self._plan.tensors}
        own = enumerate(self._live.schema.each_tensor)
        left = {entry.region for index, entry in own if index not in came or not is_dense(entry)}
        return [region for index, region in enumerate(self._live.regions) if index not in left]

    def require_fit(self, offered: Manifest) -> Collection[int]:
        """The regions that are needed. Raises SchemaDiffers, naming each that nothing bridges, or ClassDiffers."""
        self._plan = plan(offered.schema_, self._live.schema)
        refused = [*self._plan.refused, *self._unwritable(offered)]
        if refused:
            raise SchemaDiffers(refused)
        _rehearse(self._live, self._live.schema.tree, self._values(offered))
        return {offered.schema_.tensors.regions[theirs] for theirs, _ in self._plan.tensors}

    def fill(self, manifest: Manifest, regions: Sequence[torch.Tensor]) -> Any:
        """Copy what fits by name, cast where need be; the target's own containers, with the values that came."""
        plain = self._values(manifest)
        self._is_touched = True
        with torch.no_grad():
            for theirs, ours in self._plan.tensors:
                self._write(ours, manifest.schema_.each_tensor[theirs], regions)
        return around(self._live, self._live.schema.tree, plain)

    def give_up(self, error: BaseException) -> mixed.Memory:
        """Spoil what `fill` had begun to write to; the memory that is a mixture now."""
        return _spoiled(self._live, [ours for _, ours in self._plan.tensors], error) if self._is_touched else ()

    def _values(self, offered: Manifest) -> list[Any]:
        plain = [values.decode(value) for value in self._live.values]
        for theirs, ours in self._plan.values:
            plain[ours] = values.decode(offered.values[theirs])
        return plain

    def _write(self, index: int, offered: TensorEntry, regions: Sequence[torch.Tensor]) -> None:
        own = self._live.schema.each_tensor[index]
        if (own.dtype, own.stride) == (offered.dtype, offered.stride):
            _copy_bytes(self._live, index, offered, regions)
        else:
            given = view_of(offered, regions[offered.region])
            local_of(self._live.leaves.tensors[index]).detach().copy_(given)

    def _unwritable(self, offered: Manifest) -> Iterator[Difference]:
        for theirs, ours in self._plan.tensors:
            entry, own = offered.schema_.each_tensor[theirs], self._live.schema.each_tensor[ours]
            if (own.dtype, own.stride) == (entry.dtype, entry.stride):
                continue
            if may_overlap_itself(own):
                yield _differ(own, "stride", f"{entry.stride}", f"{own.stride}, whose elements share memory")
            elif not _casts(BY_NAME[entry.dtype], BY_NAME[own.dtype]):
                yield _differ(own, "dtype", entry.dtype, f"{own.dtype}, to which torch does not cast it")


def _rehearse(live: Described, tree: JsonValue, plain: Sequence[Any]) -> None:
    """Make each object once, around tensors that hold nothing new yet: what cannot be made is refused before a byte."""
    if live.leaves.known:
        around(live, tree, plain)


def _copy_bytes(live: Described, index: int, offered: TensorEntry, regions: Sequence[torch.Tensor]) -> None:
    own = live.schema.each_tensor[index]
    into, given, count = live.regions[own.region], regions[offered.region], reach(own)
    if is_solid(own):
        into[own.offset :][:count].copy_(given[offered.offset :][:count])
    else:
        elements(own, into).copy_(elements(offered, given))


def _spoiled(live: Described, tensors: Iterable[int], error: BaseException) -> mixed.Memory:
    """Nobody knows how far it came: none of it counts."""
    entries = [live.schema.each_tensor[index] for index in tensors]
    memory = mixed.mark(
        [live.regions[region] for region in dict.fromkeys(entry.region for entry in entries)],
        f"the live state was being filled when that ended ({type(error).__name__}: {str(error)[:200]}): it is NaN. "
        "Receive into it again; or fill it otherwise and say so by declare_whole()",
    )
    spoil(live, (Piece(entry.region, entry.offset, 0, reach(entry)) for entry in entries))
    return memory


def _differ(own: TensorEntry, what: str, offered: str, target: str) -> Difference:
    return Difference(path=own.path, what=what, offered=offered, target=target)


@functools.cache
def _casts(given: torch.dtype, own: torch.dtype) -> bool:
    """Whether torch copies between the two without loss of an imaginary part. Some dtypes it can only hold."""
    if given.is_complex and not own.is_complex:
        return False
    with warnings.catch_warnings(), contextlib.suppress(RuntimeError):  # NotImplementedError is one
        warnings.simplefilter("ignore")  # torch's remark on dtypes that are experimental
        torch.empty(1, dtype=own, device="cpu").copy_(torch.zeros(16, dtype=torch.uint8, device="cpu").view(given)[:1])
        return True
    return False
