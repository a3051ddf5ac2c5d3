"""What a process of ours sets of Python itself is what a connection and a list really get."""

import subprocess
import sys

SHOWS = """
import asyncio, gc, ssl, sys
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
"""


def test_a_connection_over_tls_keeps_little_and_what_was_imported_is_left_alone() -> None:
    done = subprocess.run([sys.executable, "-c", SHOWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
