"""Which version of a package is installed here?

Answered without importing it. Must not know what asks.
"""

from importlib.metadata import PackageNotFoundError, version


def version_of(package: str = "checkpointheal") -> str:
    """As the package says, such as `2.15.0`; empty where nothing says it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
