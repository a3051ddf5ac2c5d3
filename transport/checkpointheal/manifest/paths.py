"""Under which of several names does a leaf lie, by its dotted path? Must not know what is named so."""

from collections.abc import Iterable


def owner_of(path: str, names: Iterable[str]) -> str | None:
    """The first of these that is the path, or begins it."""
    return next((name for name in names if path == name or path.startswith(f"{name}.")), None)
