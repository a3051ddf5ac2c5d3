"""Which module answers which command?

A table and a dispatcher. Modules are named, not imported: neither wing brings the other in, and a command costs only
what it needs. Must not know what any command does.
"""

import difflib
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

from checkpointheal.contract.installed import version_of
from checkpointheal.saying import speak_any_encoding

USAGE_ERROR = 2


class Command(NamedTuple):
    """Where a command lives, what it does in one sentence, and the extras that it cannot do without."""

    module: str
    does: str
    extras: str = ""


COMMANDS = {
    "run": Command("checkpointheal.run", "start a trainer, and start it again in place when it fails"),
    "agent": Command("checkpointheal.agent.__main__", "keep a pod's arena and talk to the operator", "transport"),
    "open": Command("checkpointheal.opened", "show the training state that lies in an arena", "transport"),
    "local": Command(
        "checkpointheal_operator.local.command", "heal a training job of this machine's processes", "transport,operator"
    ),
    "drill": Command(
        "checkpointheal_operator.local.drill_command", "rehearse a heal of a job that `local` runs", "operator"
    ),
    "demo": Command(
        "checkpointheal_operator.demo.command",
        "train three replicas, kill them, prove nothing lost",
        "transport,operator",
    ),
    "inject": Command(
        "checkpointheal_operator.webhook.inject_command", "write manifests as the webhook would have them", "operator"
    ),
    "operator": Command(
        "checkpointheal_operator.shell.__main__", "heal the jobs of a cluster: one replica of the operator", "operator"
    ),
    "webhook": Command(
        "checkpointheal_operator.webhook.__main__", "inject agents into pods while they are made", "operator"
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status, or 2 where there is none to run."""
    speak_any_encoding(sys.stdout)
    first, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if first in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0
    if first in ("-V", "--version"):
        sys.stdout.write(f"checkpointheal {version_of() or '(not installed)'}\n")
        return 0
    if first not in COMMANDS:
        return _complain(unknown(first))
    try:
        command_main = _load(COMMANDS[first].module)
    except ModuleNotFoundError as missing:
        if _is_ours(missing):
            raise
        return _complain(_needs(first, missing))
    return command_main(rest)


def usage() -> str:
    """The table, for people."""
    width = max(map(len, COMMANDS))
    rows = (f"  {name:<{width}}  {command.does}" for name, command in COMMANDS.items())
    return "\n".join(
        (
            "usage: checkpointheal COMMAND ...",
            "",
            *rows,
            "",
            "`checkpointheal COMMAND --help` tells the rest; `checkpointheal --version` tells the version.",
            "",
        )
    )


def unknown(name: str) -> str:
    """One sentence for a command that there is not."""
    nearest = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(COMMANDS)}"
    return f"{name!r} is no command: {hint}"


def _load(module: str) -> Callable[[Sequence[str]], int]:
    command_main: Callable[[Sequence[str]], int] = import_module(module).main
    return command_main


def _is_ours(missing: ModuleNotFoundError) -> bool:
    """A module of ours that is missing from a package that is there is a fault, and wants its traceback."""
    return (missing.name or "checkpointheal.").startswith(("checkpointheal.", "checkpointheal_operator."))


def _needs(name: str, missing: ModuleNotFoundError) -> str:
    extras = COMMANDS[name].extras
    what = f"checkpointheal[{extras}]" if extras else "checkpointheal"
    return f"{name} needs {missing.name}, which is not installed: pip install '{what}'"


def _complain(sentence: str) -> int:
    sys.stderr.write(f"checkpointheal: {sentence}\n")
    return USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main())
