"""May trainers be forked from this process, after its imports?

Not where something runs that a fork would lose, nor where a trainer would find another module than a fresh interpreter
finds. Must not know who asks.
"""

import importlib.machinery
import os
import sys
from pathlib import Path
from types import ModuleType


def unfit_because(cold: frozenset[str]) -> str | None:
    """The first reason against it. `cold`: the modules that every Python has before its command runs."""
    return _threads() or _children() or _device() or _shadows(cold, _folder_of_command())


def _threads() -> str | None:
    """Linear algebra libraries end their threads before a fork and start them when needed: what one leaves, counts."""
    if (trial := os.fork()) == 0:
        os._exit(0)
    os.waitpid(trial, 0)
    threads = len(os.listdir("/proc/self/task")) - 1
    return f"the imports left {threads} thread{'s'[: threads > 1]} running" if threads else None


def _children() -> str | None:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return "the imports started a process"


def _device() -> str | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if torch.cuda.is_initialized():
        return "the imports began to use the device"
    # Who asked for devices where there are none has lost none; asking once more does no more harm.
    if _is_lost_by_a_fork(torch) and torch.cuda.device_count():
        return "the imports asked CUDA for its devices, and no process that is forked then can use them"
    return None


def _is_lost_by_a_fork(torch: ModuleType) -> bool:
    """A process cannot see it of itself: torch marks what is forked from it."""
    if not hasattr(torch._C, "_cuda_isInBadFork"):  # noqa: SLF001 - a torch without CUDA
        return False
    if (trial := os.fork()) == 0:
        os._exit(bool(torch._C._cuda_isInBadFork()))  # noqa: SLF001
    return os.waitpid(trial, 0)[1] != 0


def _shadows(cold: frozenset[str], folder: str | None) -> str | None:
    """A file beside the script that a fresh interpreter would import instead of what is imported already."""
    if folder is None:
        return None
    for name in sorted({name.partition(".")[0] for name in sys.modules.keys() - cold}):
        beside = importlib.machinery.PathFinder.find_spec(name, [folder])
        ours = getattr(sys.modules.get(name), "__spec__", None)
        if beside and beside.loader and ours and ours.origin not in ("built-in", "frozen", beside.origin):
            return f"{beside.origin} would hide the module {name}"
    return None


def _folder_of_command() -> str | None:
    """What the interpreter will put before the import path; None where it is told to put nothing."""
    if sys.flags.safe_path:
        return None
    command = sys.argv[0]
    if command in ("-c", "-m"):
        return str(Path.cwd())
    script = Path(command).resolve()
    return str(script if script.is_dir() else script.parent)
