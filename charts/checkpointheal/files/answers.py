"""Do webhook and gateway answer, under certificates that their roots vouch for? The pod of `helm test` asks.

Its arguments are pairs of an address and a file of roots; where there is no such file, the system's roots count. Any
answer over TLS will do, except a server's own fault.
"""

import os
import ssl
import sys
import time
from http import HTTPStatus
from http.client import HTTPException, HTTPSConnection
from urllib.parse import urlsplit

PATIENCE, PAUSE, ANSWER = 60.0, 2.0, 5.0


def main(argv: list[str], patience: float = PATIENCE) -> int:
    """Exit status 1 where one of them does not answer in `patience` seconds."""
    until = time.monotonic() + patience
    return max([_ask(url, roots, until) for url, roots in zip(argv[::2], argv[1::2], strict=True)])


def _ask(url: str, roots: str, until: float) -> int:
    while True:
        try:
            status = _status(url, roots)
            fault, told = status >= HTTPStatus.INTERNAL_SERVER_ERROR, f"answers {status}"
        except (OSError, HTTPException) as error:
            fault, told = True, f"{type(error).__name__}: {error}"
        if not fault or time.monotonic() > until:
            break
        time.sleep(PAUSE)
    sys.stdout.write(f"{url}: {told}\n")
    return int(fault)


def _status(url: str, roots: str) -> int:
    where = urlsplit(url)
    trust = ssl.create_default_context(cafile=roots if os.path.exists(roots) else None)
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT  # on from Python 3.13 on, and the API server asks no more than that
    connection = HTTPSConnection(where.hostname or "", where.port, timeout=ANSWER, context=trust)
    try:
        connection.request("GET", where.path)
        return connection.getresponse().status
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
