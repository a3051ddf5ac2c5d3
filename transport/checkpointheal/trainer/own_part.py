"""How does a rank get its private part back, and what if that of the step is nowhere?

Training goes on with an earlier one where it is given that, or without one: restored but not identical, and says so.
Must not know the agent.
"""

import logging
from collections.abc import Mapping
from typing import Any

from checkpointheal.arena import Arena
from checkpointheal.errors import BadFrame, BytesDiffer, SlotDamaged, UnknownClass, UnknownVersion
from checkpointheal.manifest import describe, unpack
from checkpointheal.trainer.parts import Parts

log = logging.getLogger("checkpointheal")


def put_back_own_part(parts: Parts, arena: Arena, step: int, beside: int) -> Mapping[str, Any]:
    """Streams, data position and per-rank buffers, as they were at `step`, for the state of the step `beside`.

    Returns what trained then, as `Parts.trained` tells it: nothing where that is not known.
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
        state = None if blob is None else unpack(blob, known=describe(parts.private_state()).leaves.known)
    except (BadFrame, BytesDiffer, UnknownVersion, UnknownClass, SlotDamaged) as error:
        log.error("checkpointheal: the private part of step %d cannot be read: %s", step, error)
        state = None
    if state is None:
        log.error(
            "checkpointheal: this rank's private part of step %d is missing: random streams and data position "
            "begin anew, so the run is restored but not identical",
            step,
        )
        return {}
    parts.put_back_private(state)
    trained = state.get("trained")
    return trained if isinstance(trained, Mapping) else {}
