"""Do webhook and gateway answer, under certificates that their roots vouch for? The pod of `helm test` asks.

Its arguments are pairs of an address and a file of roots. Any answer over TLS will do, except a server's own fault.
"""

import ssl
import sys
import time
import urllib.error
import urllib.request
from http import HTTPStatus

PATIENCE, PAUSE, ANSWER = 60.0, 2.0, 5.0


def main(argv: list[str]) -> int:
    """Exit status 1 where one of them does not answer in time."""
    until = time.monotonic() + PATIENCE
    return max([_ask(url, roots, until) for url, roots in zip(argv[::2], argv[1::2], strict=True)])


def _ask(url: str, roots: str, until: float) -> int:
    while True:
        try:
            told, wrong = _status(url, roots), ""
        except OSError as error:  # of which all of ssl's and urllib's are
            told, wrong = "", str(error)
        if told or time.monotonic() > until:
            break
        time.sleep(PAUSE)
    sys.stdout.write(f"{url}: {told or wrong}\n")
    return int(not told)


def _status(url: str, roots: str) -> str:
    trust = ssl.create_default_context(cafile=roots)
    try:
        with urllib.request.urlopen(url, timeout=ANSWER, context=trust) as answer:
            return f"answers {answer.status}"
    except urllib.error.HTTPError as refusal:
        if refusal.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        return f"answers {refusal.code}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
