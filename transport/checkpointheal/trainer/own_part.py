"""How does a rank get its private part back, and what if that of the step is nowhere?

Training goes on with an earlier one where it is given that, or without one, or with what of it can be read: restored
but not identical, and says so. Must not know the agent.
"""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from checkpointheal.arena import Arena
from checkpointheal.errors import BadFrame, BytesDiffer, SlotDamaged, UnknownClass, UnknownVersion
from checkpointheal.manifest import Known, describe, unpack_apart
from checkpointheal.trainer.parts import Parts, Stateful
from checkpointheal.trainer.private_loading import load_exactly

log = logging.getLogger("checkpointheal")

ANEW = "random streams and data position begin anew, so the run is restored but not identical"


class PutBack(NamedTuple):
    """What trained then, as `Parts.trained` tells it, and which classes the live parts held before."""

    trained: Mapping[str, Any]
    known: Known


NOTHING = PutBack({}, {})


def put_back_own_part(parts: Parts, arena: Arena, step: int, beside: int) -> PutBack:
    """Streams, data position and per-rank buffers, as they were at `step`, for the state of the step `beside`.

    Returns nothing where that is not known.
    """
    if step != beside:
        log.warning(
            "checkpointheal: this rank's private part of step %d is nowhere, and that of step %d stands in for it: "
            "random streams and data position are behind, so the run is restored but not identical",
            beside,
            step,
        )
    try:
        blob = arena.read_private(step)
        if blob is None:
            log.error("checkpointheal: this rank's private part of step %d is missing: %s", step, ANEW)
            return NOTHING
        live = describe(parts.private_state()).leaves
        state, lost = unpack_apart(blob, "parts", live)
    except (BadFrame, BytesDiffer, UnknownVersion, UnknownClass, SlotDamaged) as error:
        log.error("checkpointheal: this rank's private part of step %d cannot be read: %s: %s", step, error, ANEW)
        return NOTHING
    for name, why in lost.items():
        log.error(
            "checkpointheal: this rank's private part %s of step %d cannot be put back (%s): it begins anew, so "
            "the run is restored but not identical",
            name,
            step,
            why,
        )
    parts.put_back_private(state, lost, partial(_load, step))
    trained = state.get("trained")
    return PutBack(trained if isinstance(trained, Mapping) else {}, live.known)


def _load(step: int, name: str, part: Stateful, kept: Any) -> None:
    if wrong := load_exactly(part, kept):
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        log.error(
            "checkpointheal: this rank's private part %s does not hold what it held at step %d: %s%s was loaded as "
            "another value, so the run is restored but not identical",
            name,
            step,
            wrong[0],
            more,
        )
