"""`kubectl checkpointheal`: how jobs stand, why a pod stands as it does, what was healed.

Finds the cluster as kubectl does, runs one verb, and says what is wrong in two sentences where it cannot.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from checkpointheal.contract.installed import version_of
from checkpointheal.saying import speak_any_encoding
from checkpointheal_operator.plugin.asked import parser

if TYPE_CHECKING:
    from checkpointheal_operator.plugin.reading import Reader
    from checkpointheal_operator.plugin.verbs import Desk
    from checkpointheal_operator.shell.kubeconfig import Context

USAGE_ERROR = 2
CALLED = "kubectl checkpointheal"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; its exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    speak_any_encoding(sys.stdout)
    try:
        return _run(argv)
    except ModuleNotFoundError as missing:
        if (missing.name or "checkpointheal").startswith("checkpointheal"):
            raise
        return _complain(
            (f"{missing.name} is not installed", "in a checkout of checkpointheal: pip install '.[operator]'")
        )
    except KeyboardInterrupt:
        return 0 if argv[:1] == ["watch"] else 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(argv: Sequence[str]) -> int:
    if argv[:1] == ["inject"]:
        from checkpointheal_operator.plugin import inject  # noqa: PLC0415 each verb costs what it needs

        return inject.main(argv[1:])
    if argv[:1] == ["deadlines"]:
        from checkpointheal_operator.plugin import deadlines  # noqa: PLC0415

        return deadlines.main(argv[1:])
    command = parser()
    asked = command.parse_args(argv)
    if asked.version:
        sys.stdout.write(f"{CALLED} {version_of() or '(not installed)'}\n")
        return 0
    if asked.verb is None:
        command.print_help(sys.stderr)
        return USAGE_ERROR
    return answer(asked, os.environ, sys.stdout)


def answer(
    asked: argparse.Namespace, environment: Mapping[str, str], out: TextIO, clock: Callable[[], float] = time.time
) -> int:
    """Do what was asked; what is wrong goes to standard error. `clock` tells seconds since 1970."""
    from checkpointheal_operator.plugin.trouble import Trouble  # noqa: PLC0415
    from checkpointheal_operator.plugin.verbs import Desk  # noqa: PLC0415
    from checkpointheal_operator.shell.access import NoCluster  # noqa: PLC0415
    from checkpointheal_operator.shell.kubeconfig import context_of  # noqa: PLC0415

    try:
        path = Path(asked.kubeconfig).expanduser() if asked.kubeconfig else None
        context = context_of(environment, path, asked.context)
        status = asyncio.run(_at(context, asked, lambda reader, where: Desk(reader, where, out, clock)))
        out.flush()
    except Trouble as trouble:
        _complain(trouble.lines)
        return trouble.code
    except NoCluster as error:
        return _complain((str(error), "`kubectl config view` shows what kubectl knows; --context names another one"))
    return status


async def _at(context: "Context", asked: argparse.Namespace, desk: "Callable[[Reader, str], Desk]") -> int:
    from checkpointheal_operator.plugin.reading import Reader  # noqa: PLC0415
    from checkpointheal_operator.plugin.trouble import Where  # noqa: PLC0415
    from checkpointheal_operator.shell.kube import Kube  # noqa: PLC0415

    everywhere = getattr(asked, "all_namespaces", False)
    namespace = "" if everywhere else asked.namespace or context.namespace
    async with context.access.session() as session:
        reader = Reader(Kube(session, context.access.url), Where(context.name, context.access.url))
        return await _verb(desk(reader, namespace), asked)


def _verb(desk: "Desk", asked: argparse.Namespace) -> Coroutine[Any, Any, int]:
    from checkpointheal_operator.plugin import drilling, verbs  # noqa: PLC0415

    match asked.verb:
        case "drill":
            return drilling.drill(desk, asked.name, asked.timeout)
        case "status":
            return verbs.status(desk)
        case "explain":
            return verbs.explain(desk, asked.pod)
        case "history":
            return verbs.past(desk, verbs.Wanted(asked.selector, asked.policy, asked.pod, asked.output))
        case "watch":
            return verbs.watch(desk)
    return verbs.report(desk, asked.output, asked.operator_namespace)


def _complain(lines: Sequence[str]) -> int:
    first, *rest = lines
    with suppress(BrokenPipeError):
        sys.stderr.write(f"{CALLED}: {first}\n" + "".join(f"  -> {each}\n" for each in rest))
    return USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main())
