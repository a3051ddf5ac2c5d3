"""Where do torchft's Managers meet? A lighthouse of its own process: what it says goes to a file."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.machine import end_with_parent
from checkpointheal_operator.local.places import LOOPBACK, free_port


@contextlib.contextmanager
def lighthouse(log: Path, **options: int) -> Iterator[str]:
    """Its address. `options`: of torchft_lighthouse's command line."""
    address = f"{LOOPBACK}:{free_port()}"
    told = [f"--{name}={value}" for name, value in options.items()]
    with log.open("w") as out:
        running = subprocess.Popen(
            [str(Path(sys.executable).with_name("torchft_lighthouse")), f"--bind={address}", *told],
            stdout=out,
            stderr=out,
            preexec_fn=end_with_parent,  # noqa: PLW1509 nothing of this process holds a lock that it takes
        )
    try:
        yield f"http://{address}"
    finally:
        running.kill()
        running.wait()
