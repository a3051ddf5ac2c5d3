"""Where the kubectl plugin is run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from builders_plugin import Desktop, a_desktop


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[Desktop]:
    """A cluster without a job, and somebody's desk before it."""
    with a_desktop(tmp_path) as found:
        yield found
