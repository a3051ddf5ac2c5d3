"""Does a live state hold exactly what it was given?

Tensor by tensor and value by value, named by path. Must not know how it was loaded.
"""

from collections.abc import Iterable, Sequence

import torch
from pydantic import JsonValue

from checkpointheal.contract.layout import Schema
from checkpointheal.errors import AppliedStateDiffers, SchemaDiffers
from checkpointheal.manifest import Described, compare

_SHOWN = 4


def differing(
    wanted: Schema, regions: Iterable[torch.Tensor], values: Sequence[JsonValue], live: Described
) -> list[str]:
    """Paths of what it does not hold as it was given: CPU bytes, region by region, and plain values.

    Raises AppliedStateDiffers for another form.
    """
    require_form(wanted, live)
    wrong = {
        index
        for index, (given, held) in enumerate(zip(regions, live.regions, strict=True))
        if not torch.equal(given, held.cpu())
    }
    tensors = [entry.path for entry in wanted.each_tensor if entry.region in wrong]
    return [*tensors, *other_values(wanted, values, live)]


def require_form(wanted: Schema, live: Described) -> None:
    """Raise AppliedStateDiffers where it has another form."""
    if differences := compare(wanted, live.schema):
        raise AppliedStateDiffers(f"loading changed the state's form: {SchemaDiffers(differences)}")


def other_values(wanted: Schema, values: Sequence[JsonValue], live: Described) -> list[str]:
    """Paths of plain values that it does not hold as they were given. Both have one form."""
    pairs = zip(wanted.value_paths, values, live.values, strict=True)
    return [path for path, given, held in pairs if given != held]


def require_none(paths: Sequence[str], what: str) -> None:
    """Raise AppliedStateDiffers that names the first ones, and says what they are."""
    if paths:
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        raise AppliedStateDiffers(f"{', '.join(paths[:_SHOWN])}{more}: {what}")
