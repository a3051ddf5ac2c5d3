"""`python -m soak_counted FILE`: the operator's process, which writes what it holds into FILE when SIGUSR1 comes.

By type: how many objects the collector follows, garbage that it has not found yet included, for to collect here would
hide what the operator itself lets lie. What was imported is frozen, and not counted.
"""

import gc
import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from checkpointheal.cli import main


def write(file: Path) -> None:
    """In place of what stood there, whole at every instant."""
    found = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(found))
    beside.rename(file)


if __name__ == "__main__":

    def told(_signal: int, _frame: FrameType | None) -> None:
        write(Path(sys.argv[1]))

    signal.signal(signal.SIGUSR1, told)
    sys.exit(main(["operator"]))
