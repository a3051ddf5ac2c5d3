"""May trainers be forked from this process, after its imports?

Not where something runs that a fork would lose, nor where a trainer would find another module than a fresh interpreter
finds. Must not know who asks.
"""

import importlib.machinery
import os
import sys
from pathlib import Path


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
    return "the imports began to use the device" if torch and torch.cuda.is_initialized() else None


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
