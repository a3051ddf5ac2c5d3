"""How is Python itself set, for a process that reads long lists, holds thousands of connections and answers quickly?

Its own settings are for small programs. Each of these was found by `bench/scale`. Must not know what the process does.
"""

import ctypes
import gc
import logging
import sys
from asyncio import sslproto

NEW_OBJECTS, YOUNG, OLD = 10_000, 2, 1
"""New objects until those are looked through; how often that, until the older ones are; how often those, until all."""
SWITCH_SECONDS = 0.0005
TLS_BUFFER = 32 << 10


def prepare() -> None:
    """To be called once everything is imported.

    The collector walks over all that was imported again and again while a list of pods is read, hundreds of thousands
    of small objects that refer to nothing back: that took four fifths of the time. The loop that serves agents lets go
    of the interpreter at each turn, and waits up to the switch interval, 5 ms, to have it back while kopf's thread
    works. And asyncio keeps 256 KiB for each connection over TLS, of which an agent has two. No line of ours tells in
    which thread or process it was written; logging finds it out for each.

    What refers to itself, as each connection that has ended does, would lie there for most of an hour: all is looked
    through after so many new objects, or, where that is more, once what is new is a quarter of what is old.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # or what is frozen counts as old
    gc.set_threshold(NEW_OBJECTS, YOUNG, OLD)
    sys.setswitchinterval(SWITCH_SECONDS)
    sslproto.SSLProtocol.max_size = TLS_BUFFER
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def give_back() -> None:
    """Return to the system what lies free between things that are still needed.

    glibc gives back the end of its heap alone, and an operator makes and forgets some hundred objects with each heal:
    what it occupies would grow for hours, though what it holds does not. Another C library may not know the word.
    """
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
