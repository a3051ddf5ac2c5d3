"""What a process of ours sets of Python itself is what a connection and a list really get."""

import subprocess
import sys

SHOWS = """
import asyncio, gc, ssl, sys, weakref
from asyncio import sslproto
from checkpointheal_operator.interpreter import TLS_BUFFER, prepare
prepare()
async def buffer():
    loop = asyncio.get_running_loop()
    made = sslproto.SSLProtocol(loop, asyncio.Protocol(), ssl.create_default_context(), loop.create_future())
    return len(made.get_buffer(-1))
assert asyncio.run(buffer()) == TLS_BUFFER, asyncio.run(buffer())
assert gc.isenabled() and gc.get_freeze_count() > 1000
assert sys.getswitchinterval() < 0.001
class Connection:
    def __init__(self):
        self.itself = self
lives = Connection()
gc.collect()
ended = weakref.ref(lives)
del lives
new = [[] for _ in range(150_000)]
assert ended() is None
"""


def test_a_connection_keeps_little_and_is_found_once_it_ended_and_what_was_imported_is_left_alone() -> None:
    done = subprocess.run([sys.executable, "-c", SHOWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


GIVES_BACK = """
import ctypes
from pathlib import Path
from checkpointheal_operator.interpreter import give_back
def occupied():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
made = [bytearray(2_000) for _ in range(50_000)]
del made[1::8], made[1::7], made[1::6], made[1::5], made[1::4], made[1::3], made[1::2]
before = occupied()
give_back()
assert not hasattr(ctypes.CDLL(None), "malloc_trim") or occupied() < before - (20 << 20), (before, occupied())
"""


def test_what_lies_free_between_things_that_are_needed_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", GIVES_BACK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
