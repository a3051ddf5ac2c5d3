"""`checkpointheal operator`: one replica of the operator, from its environment, until told to stop."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence

from checkpointheal.contract import log_lines
from checkpointheal_operator.interpreter import prepare
from checkpointheal_operator.shell.access import Access, NoCluster, in_cluster
from checkpointheal_operator.shell.kube import Kube
from checkpointheal_operator.shell.kubeconfig import from_kubeconfig
from checkpointheal_operator.shell.replica import Replica
from checkpointheal_operator.shell.settings import BadEnvironment, OperatorSettings, from_environment

USAGE_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Exit status 2 where the environment or the certificate cannot be used."""
    if argv and argv[0] in ("-h", "--help"):
        sys.stdout.write(usage())
        return 0
    if argv:
        sys.stderr.write("checkpointheal operator: it takes no arguments; its settings are CHECKPOINTHEAL_ variables\n")
        return USAGE_ERROR
    log_lines.begin(os.environ)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    prepare()
    try:
        settings = from_environment(os.environ)
        access = from_kubeconfig(settings.kubeconfig) if settings.kubeconfig else in_cluster(os.environ)
        asyncio.run(serve(settings, access))
    except (BadEnvironment, NoCluster, OSError) as error:
        sys.stderr.write(f"checkpointheal operator: {error}\n")
        return USAGE_ERROR
    return 0


def usage() -> str:
    """What the environment may say."""
    fields = OperatorSettings.model_fields.items()
    lines = [f"  CHECKPOINTHEAL_{name.upper():22} {field.description}" for name, field in fields]
    about = "Decide about heals, as one of several replicas. It takes no arguments; its environment tells it:"
    return "\n".join(("usage: checkpointheal operator", "", about, "", *lines)) + "\n"


async def serve(settings: OperatorSettings, access: Access) -> None:
    """Until cancelled or signalled; the lease is given back."""
    current = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        if current is not None:
            asyncio.get_running_loop().add_signal_handler(number, current.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        async with access.session() as session:
            await Replica(settings, access, Kube(session, access.url)).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
