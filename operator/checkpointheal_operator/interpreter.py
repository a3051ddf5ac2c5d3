"""How is Python itself set, for a process that reads long lists, holds thousands of connections and answers quickly?

Its own settings are for small programs. Each of these was found by `bench/scale`. Must not know what the process does.
"""

import gc
import logging
import sys
from asyncio import sslproto

NEW_OBJECTS = 10_000
SWITCH_SECONDS = 0.0005
TLS_BUFFER = 32 << 10


def prepare() -> None:
    """To be called once everything is imported.

    The collector walks over all that was imported again and again while a list of pods is read, hundreds of thousands
    of small objects that refer to nothing back: that took four fifths of the time. The loop that serves agents lets go
    of the interpreter at each turn, and waits up to the switch interval, 5 ms, to have it back while kopf's thread
    works. And asyncio keeps 256 KiB for each connection over TLS, of which an agent has two. No line of ours tells in
    which thread or process it was written; logging finds it out for each.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
    sys.setswitchinterval(SWITCH_SECONDS)
    sslproto.SSLProtocol.max_size = TLS_BUFFER
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
