"""On which machine, and how busy was it? Without that a figure in seconds says nothing."""

import ctypes
import os
import platform
import signal
from datetime import UTC, datetime
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def machine() -> dict[str, str]:
    """What a reader needs to know, by name."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": f"{len(os.sched_getaffinity(0))} x {_first('/proc/cpuinfo', 'model name') or platform.machine()}",
        "memory": f"{int((_first('/proc/meminfo', 'MemTotal') or '0').split()[0]) / (1 << 20):.0f} GiB",
        "system": f"Linux {platform.release()}, Python {platform.python_version()}",
    }


def load() -> str:
    """The load average of the last one, five and fifteen minutes."""
    return " ".join(f"{each:.1f}" for each in os.getloadavg())


def end_with_parent() -> None:
    """A forked process that serves a bench leaves this machine with it, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _first(file: str, name: str) -> str:
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
