"""`checkpointheal run` with tiny trainers, and an agent that hears what it says."""

import os
import select
import signal
import socket
import subprocess
import sys

from checkpointheal.contract.trainer import SOCKET_NAME, TRAINER_SAYS

SECONDS = 60.0
PROMPT = ("--backoff", "0")
DEAF = ("its reader is gone", "its disk is full", "it is closed")


def deaf(why: str, fd: int) -> dict[str, object]:
    """How a process is started whose `fd`, 1 or 2, nobody can be told on."""
    stream = {1: "stdout", 2: "stderr"}[fd]
    if why == "it is closed":
        return {"preexec_fn": lambda: os.close(fd)}
    if why == "its disk is full":
        return {stream: os.open("/dev/full", os.O_WRONLY)}
    reader, writer = os.pipe()
    os.close(reader)
    return {stream: writer}


class Run:
    """`checkpointheal run` around a shell script, whose words come out of `lines`."""

    def __init__(self, script: str, *options: str, arena=None, **said: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CHECKPOINTHEAL_")}
        if arena is not None:
            environment["CHECKPOINTHEAL_ARENA"] = str(arena)
        environment |= said
        command = [sys.executable, "-m", "checkpointheal.cli", "run", *options, "--", "sh", "-c", script]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def line(self) -> str:
        """The next word of the trainer, and no more: what is buffered here nobody would wait for."""
        said, source = b"", self.process.stdout.fileno()
        while not said.endswith(b"\n"):
            assert select.select([source], [], [], SECONDS)[0], "the trainer said nothing"
            if not (letter := os.read(source, 1)):
                break
            said += letter
        return said.decode().strip()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Exit status, and all that was said after the lines read so far."""
        said, complaints = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, said, complaints

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class Agent:
    """Listens where an agent would."""

    def __init__(self, directory) -> None:
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(directory / SOCKET_NAME))
        self.server.listen()
        self.server.settimeout(SECONDS)

    def accept(self) -> None:
        self.connection, _ = self.server.accept()
        self.connection.settimeout(SECONDS)
        self.lines = self.connection.makefile("rb")

    def hear(self, kind: str):
        """The next word of this kind."""
        while (said := TRAINER_SAYS.validate_json(self.lines.readline())).say != kind:
            pass
        return said

    def say(self, message) -> None:
        self.connection.sendall(message.model_dump_json().encode() + b"\n")

    def close(self) -> None:
        if hasattr(self, "connection"):
            self.lines.close()
            self.connection.close()
        self.server.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] not in "ZX"


def wait_until_gone(pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        assert select.select([descriptor], [], [], SECONDS)[0], f"process {pid} is still there"
    finally:
        os.close(descriptor)
