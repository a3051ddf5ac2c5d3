"""How does a training process say what its state is?

Once, and before anything else. Must not know what becomes of it.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from checkpointheal.contract.trainer import PRIVATE_AT_MOST
from checkpointheal.errors import AlreadyAttached, Misuse
from checkpointheal.trainer.attended import Attended
from checkpointheal.trainer.heal import Heal
from checkpointheal.trainer.launcher import never_meets_again
from checkpointheal.trainer.mistaken import read_ahead
from checkpointheal.trainer.parts import Parts, declare
from checkpointheal.trainer.resting import require_optimizer
from checkpointheal.trainer.scheduled import without_schedule
from checkpointheal.trainer.settings import TrainerSettings
from checkpointheal.trainer.unattended import Unattended

log = logging.getLogger("checkpointheal")
_attached: set[str] = set()


def attach(
    *unnamed: object,
    private: Mapping[str, Any] | None = None,
    private_limit: int = 1 << 20,
    background: bool = False,
    on_demand: bool = False,
    **replicated: Any,
) -> Heal:
    """Declare the state of this trainer, before `restore()`.

    Each keyword names a part with `state_dict()` and `load_state_dict()` that is equal on every replica: model,
    optimizer, scheduler, EMA. `private` names what belongs to this rank alone, such as its data position; random
    streams and BatchNorm statistics are private without being named. `private_limit` is in bytes,
    16 MiB at most: peers keep these parts in memory.
    `background`: `commit` returns before weights and optimizer are copied, and the next `step()` of the optimizer waits
    for that copy; nothing else may write them until then.
    `on_demand`, among `epochs()` only: `commit` copies neither; survivors give the state of their last commit once a
    member is lost. If all trainers are lost at once, so is the state.
    Raises Misuse where a part cannot be kept, AlreadyAttached where this process has attached before.
    """
    if unnamed:
        raise Misuse(
            "attach() was given a part without its name: give each by name, as in attach(model=model, "
            "optimizer=optimizer)"
        )
    parts = declare(replicated, private or {})
    if private_limit > PRIVATE_AT_MOST:
        raise Misuse(
            f"attach() was given private_limit={private_limit}: no agent keeps a private part of more than "
            f"{PRIVATE_AT_MOST} bytes for another; name what replicas share as a part"
        )
    if background and on_demand:
        raise Misuse("attach() was given background=True and on_demand=True: what is not copied is not copied beside")
    if background or on_demand:
        require_optimizer(parts, "background" if background else "on_demand")
    settings = TrainerSettings.from_environment(
        os.environ, private_limit=private_limit, background=background, on_demand=on_demand
    )
    arena = None if settings.arena is None else str(settings.arena)
    if arena in _attached:
        raise AlreadyAttached(
            "this process is attached already: call attach() once, and pass the Heal that it returned"
        )
    heal = Unattended(parts) if settings.arena is None else Attended(parts, settings, settings.arena)
    for doubt in _doubts(parts):
        log.warning("checkpointheal: %s", doubt)
    if arena is not None:
        _attached.add(arena)
        if (wrong := never_meets_again(os.environ)) is not None:
            log.warning("checkpointheal: %s", wrong)
    return heal


def _doubts(parts: Parts) -> Iterator[str]:
    """What refuses nothing, and is told: the run would go on otherwise after a heal."""
    if parts.untold:
        yield (
            f"{parts.untold[0]} is this rank's own statistics, and no key of its part's state_dict() is it: a healed "
            "trainer begins it anew, or is given another rank's where state_dict() tells a copy by a name of its own; "
            "tell it by its name, use SyncBatchNorm, or register it with persistent=False"
        )
    if (forgotten := without_schedule(parts)) is not None:
        yield (
            f"{forgotten} has a schedule of its learning rate, and no part that attach() was given is that schedule: "
            "it would begin anew in a healed trainer; name it, as in attach(schedule=schedule)"
        )
    ahead = (told for name, part in parts.private.items() if (told := read_ahead(name, part)) is not None)
    yield from islice(ahead, 1)
