"""The public names, fetched on first use so that importing a part never brings torch with it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from checkpointheal.manifest import register_class
    from checkpointheal.pg_transport import PGTransport
    from checkpointheal.trainer import Epoch, Heal, attach, process_group
    from checkpointheal.underway import Progress

__all__ = ["Epoch", "Heal", "PGTransport", "Progress", "attach", "process_group", "register_class"]

_HOMES = {
    "Epoch": "checkpointheal.trainer",
    "Heal": "checkpointheal.trainer",
    "attach": "checkpointheal.trainer",
    "process_group": "checkpointheal.trainer",
    "PGTransport": "checkpointheal.pg_transport",
    "Progress": "checkpointheal.underway",
    "register_class": "checkpointheal.manifest",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'checkpointheal' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
