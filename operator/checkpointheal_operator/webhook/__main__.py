"""`checkpointheal webhook`: answer the API server over TLS until told to stop."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from checkpointheal.contract import log_lines
from checkpointheal.contract.identity import any_address
from checkpointheal.contract.installed import version_of
from checkpointheal_operator.doors.guests import Bounds, Guests
from checkpointheal_operator.doors.serving import READERS, greeted, served
from checkpointheal_operator.doors.splice import Address
from checkpointheal_operator.interpreter import prepare
from checkpointheal_operator.measures.reviewing import WebhookMetrics
from checkpointheal_operator.webhook.app import make_app, make_open_app
from checkpointheal_operator.webhook.files import Certificate, Installation, look_forever
from checkpointheal_operator.webhook.review import OUTCOMES

log = logging.getLogger("checkpointheal.webhook")

LOOK_SECONDS = 10.0
USAGE_ERROR = 2
CALLERS = Bounds(greeting=5.0, most=128, undisturbed=0.5, of_one=128)
"""An API server asks as soon as it is connected and keeps up to 25 connections. All at once take 70 of 256 MiB."""


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
    return version_of()


async def serve(certificate: Certificate, installation: Installation, doors: Doors) -> None:
    """Listen until cancelled or signalled."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    metrics = WebhookMetrics(OUTCOMES)
    callers, readers = Guests(CALLERS), Guests(READERS)
    reviews = make_app(installation.current, metrics, time.monotonic, callers.known)
    readable = make_open_app(metrics)
    readable.middlewares.append(greeted(readers))
    looking = asyncio.create_task(look_forever((certificate.refresh, installation.refresh), LOOK_SECONDS))
    try:
        async with (
            served(reviews, Address(doors.host, doors.port), callers, certificate.context),
            served(readable, Address(doors.host, doors.metrics_port), readers),
        ):
            build = installation.current().build or "unknown"
            log.info("listening on %s:%d as build %s, for metrics on %d", *doors[:2], build, doors.metrics_port)
            await stopped.wait()
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking


if __name__ == "__main__":
    sys.exit(main())
