"""`checkpointheal webhook`: answer the API server over TLS until told to stop."""

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from aiohttp import web
from pydantic import ValidationError

from checkpointheal_operator.webhook.app import make_app
from checkpointheal_operator.webhook.counters import Counters
from checkpointheal_operator.webhook.files import Certificate, Installation, look_forever

log = logging.getLogger("checkpointheal.webhook")

LOOK_SECONDS = 10.0
USAGE_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit status 2 where certificate or settings cannot be read."""
    asked = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        certificate = Certificate(asked.certificate, asked.key)
        installation = Installation(asked.settings, asked.gateway_root, build())
    except (OSError, ValidationError) as error:
        sys.stderr.write(f"checkpointheal webhook: {error}\n")
        return USAGE_ERROR
    asyncio.run(serve(certificate, installation, asked.host, asked.port))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="checkpointheal webhook", description="Inject agents into opted-in pods while they are made."
    )
    parser.add_argument(
        "--certificate", type=Path, required=True, metavar="PEM", help="what it shows to the API server"
    )
    parser.add_argument("--key", type=Path, required=True, metavar="PEM", help="the certificate's private key")
    parser.add_argument("--settings", type=Path, required=True, metavar="JSON", help="what agents get, unless asked")
    parser.add_argument("--gateway-root", type=Path, metavar="PEM", help="who signs the gateway's certificate")
    parser.add_argument("--host", default="0.0.0.0", help="where to listen (%(default)s)")  # noqa: S104 a pod's own
    parser.add_argument("--port", type=int, default=9443, help="where to listen (%(default)s)")
    return parser


def build() -> str:
    """The version that is written on injected pods."""
    try:
        return version("checkpointheal")
    except PackageNotFoundError:
        return ""


async def serve(certificate: Certificate, installation: Installation, host: str, port: int) -> None:
    """Listen until cancelled or signalled."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = web.AppRunner(make_app(installation.current, Counters(), time.monotonic), access_log=None)
    looking = asyncio.create_task(look_forever((certificate.refresh, installation.refresh), LOOK_SECONDS))
    try:
        await runner.setup()
        await web.TCPSite(runner, host, port, ssl_context=certificate.context).start()
        log.info("listening on %s:%d as build %s", host, port, installation.current().build or "unknown")
        await stopped.wait()
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())
