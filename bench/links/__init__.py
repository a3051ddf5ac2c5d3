"""How fast is a state given where the links are slower than memory, and what does that cost who gives it?

Each rank has a network of its own, with a capped link to a bridge between them: that needs root, and is left out by
name where it is not to be had. Besides, over the loop-back: memory, and what a delta sends.
"""

from collections.abc import Callable

from bench.links import shared, training
from bench.links.network import NoNetwork, require_permitted
from bench.table import Row

__all__ = ["rows"]
_OVER_LINKS: dict[str, Callable[[], list[Row]]] = {
    "several donors": shared.striped,
    "chains": shared.chained,
    "training beside a donor": training.rows,
}


def rows() -> list[Row]:
    """Of everything that can be had here."""
    return [*shared.held(), *(row for name, act in _OVER_LINKS.items() for row in _if_permitted(name, act))]


def _if_permitted(name: str, act: Callable[[], list[Row]]) -> list[Row]:
    try:
        require_permitted()
        return act()
    except NoNetwork as error:
        return [Row(f"{name}: left out", 0.0, "", None, str(error))]
