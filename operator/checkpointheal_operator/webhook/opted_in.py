"""Where in a manifest, of whatever kind, stand pod templates that opted in?

So that none of a kind that nobody knows here is passed over without a word. Must not know kinds.
"""

from collections.abc import Iterator
from typing import Any

from checkpointheal_operator.core.injection_settings import INJECT

Path = tuple[str | int, ...]


def opted_in(part: Any, at: Path = ()) -> Iterator[Path]:
    """The paths of all mappings with the label and containers, each as if it were a pod."""
    if _is_opted_in(part):
        yield at
    elif isinstance(part, dict):
        for key, each in part.items():
            yield from opted_in(each, (*at, key))
    elif isinstance(part, list):
        for index, each in enumerate(part):
            yield from opted_in(each, (*at, index))


def _is_opted_in(part: Any) -> bool:
    labels, spec = _in(_in(part, "metadata"), "labels"), _in(part, "spec")
    return _in(labels, INJECT) == "true" and isinstance(_in(spec, "containers"), list)


def _in(part: Any, key: str) -> Any:
    return part.get(key) if isinstance(part, dict) else None
