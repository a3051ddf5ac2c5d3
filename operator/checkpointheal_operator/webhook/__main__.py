"""`checkpointheal webhook`: answer the API server over TLS until told to stop."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from aiohttp import web
from pydantic import ValidationError

from checkpointheal.contract import log_lines
from checkpointheal.contract.identity import any_address
from checkpointheal_operator.interpreter import prepare
from checkpointheal_operator.measures.reviewing import WebhookMetrics
from checkpointheal_operator.webhook.app import make_app, make_open_app
from checkpointheal_operator.webhook.files import Certificate, Installation, look_forever
from checkpointheal_operator.webhook.review import OUTCOMES

log = logging.getLogger("checkpointheal.webhook")

LOOK_SECONDS = 10.0
USAGE_ERROR = 2


class Doors(NamedTuple):
    """Where to listen: for reviews over TLS, and for whoever reads metrics or probes."""

    host: str
    port: int
    metrics_port: int


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit status 2 where certificate or settings cannot be read."""
    asked = parser().parse_args(argv)
    log_lines.begin(os.environ)
    try:
        certificate = Certificate(asked.certificate, asked.key)
        installation = Installation(asked.settings, asked.gateway_root, build())
    except (OSError, ValidationError) as error:
        sys.stderr.write(f"checkpointheal webhook: {error}\n")
        return USAGE_ERROR
    prepare()
    asyncio.run(serve(certificate, installation, Doors(asked.host, asked.port, asked.metrics_port)))
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
    parser.add_argument(
        "--host", default=any_address(os.environ.get("CHECKPOINTHEAL_POD_IP", "")), help="where to listen (%(default)s)"
    )
    parser.add_argument("--port", type=int, default=9443, help="where to listen (%(default)s)")
    parser.add_argument(
        "--metrics-port", type=int, default=8080, help="where metrics and probes are, without TLS (%(default)s)"
    )
    return parser


def build() -> str:
    """The version that is written on injected pods."""
    try:
        return version("checkpointheal")
    except PackageNotFoundError:
        return ""


async def serve(certificate: Certificate, installation: Installation, doors: Doors) -> None:
    """Listen until cancelled or signalled."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    metrics = WebhookMetrics(OUTCOMES)
    reviews = make_app(installation.current, metrics, time.monotonic)
    looking = asyncio.create_task(look_forever((certificate.refresh, installation.refresh), LOOK_SECONDS))
    try:
        async with (
            _served(reviews, doors.host, doors.port, certificate.context),
            _served(make_open_app(metrics), doors.host, doors.metrics_port),
        ):
            build = installation.current().build or "unknown"
            log.info("listening on %s:%d as build %s, for metrics on %d", *doors[:2], build, doors.metrics_port)
            await stopped.wait()
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking


@contextlib.asynccontextmanager
async def _served(app: web.Application, host: str, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None)
    try:
        await runner.setup()
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        yield
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())
