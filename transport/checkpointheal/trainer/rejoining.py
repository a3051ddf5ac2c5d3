"""How does a trainer get away from an address at which rank 0 is no more?

A name may be answered from a cache for half a minute after its pod was replaced. Nothing answers at the old address,
and torch waits there for its whole timeout without asking for the name again. A call that is not answered after a
moment is shut down: torch takes that for a failed try, and its next one asks anew. Must not know epochs.
"""

import contextlib
import threading
import time
from collections.abc import Collection
from pathlib import Path

from checkpointheal.trainer.collectives import shut_down, sockets

SYN_SENT = "02"
PATIENCE = 3.0
"""Seconds that an answer may take: a lost packet was sent again twice by then."""
WATCHED_SECONDS = 600.0
_TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))


def watch(ports: Collection[int], joined: threading.Event) -> None:
    """Keep the process from waiting at an address that does not answer, until it has `joined`. Returns at once."""
    if ports:
        work = threading.Thread(target=_watch, args=(ports, joined), name="checkpointheal-rejoin", daemon=True)
        work.start()


def _watch(ports: Collection[int], joined: threading.Event) -> None:
    since: dict[int, float] = {}
    give_up = time.monotonic() + WATCHED_SECONDS
    while not joined.wait(PATIENCE / 6) and time.monotonic() < give_up:
        now, calling = time.monotonic(), _calling(ports)
        since = {inode: since.get(inode, now) for inode in calling}
        for fd, inode in sockets():
            if inode in since and now >= since[inode] + PATIENCE:
                shut_down(fd, inode)


def _calling(ports: Collection[int]) -> frozenset[int]:
    """Inodes of connections to these ports that nobody has answered yet, of this process and its neighbours."""
    found = set()
    for table in _TABLES:
        with contextlib.suppress(OSError):
            for row in table.read_text().splitlines()[1:]:
                words = row.split()
                if words[3] == SYN_SENT and int(words[2].rpartition(":")[2], 16) in ports:
                    found.add(int(words[9]))
    return frozenset(found)
