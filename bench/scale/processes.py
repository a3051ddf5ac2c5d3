"""The API server, the operator and the webhook as processes, and what is read of them."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.scale.crowd import Crowd

CLI = "import sys; from checkpointheal.cli import main; sys.exit(main(sys.argv[1:]))"
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{{name: here, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "{url}"}}}}]
users: [{{name: u, user: {{token: secret}}}}]
"""
PATIENCE = 180.0
LOOK_EVERY = 0.02


class Api(NamedTuple):
    """A fake API server."""

    process: subprocess.Popen[str]
    url: str

    def told(self) -> dict[str, int]:
        """What it has done until now."""
        if self.process.stdin is None or self.process.stdout is None:
            raise ValueError("it was started with pipes")
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        found: dict[str, int] = json.loads(self.process.stdout.readline())
        return found


class Operator(NamedTuple):
    """One replica."""

    process: subprocess.Popen[str]
    gateway: int
    health: int
    began: float
    """When it was started, by the monotonic clock."""
    host: str

    def until(self, true: Callable[[dict[str, float]], bool]) -> float:
        """Seconds from its start until its metrics say so."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the operator ended with {self.process.returncode}")
            with contextlib.suppress(OSError):
                if true(self.metrics()):
                    return time.monotonic() - self.began
            time.sleep(LOOK_EVERY)
        raise TimeoutError("the operator does not come to it")

    def until_looked(self, jobs: int) -> float:
        """Seconds from its start until it has looked at so many jobs."""
        return self.until(lambda seen: seen.get('checkpointheal_looks_total{result="ok"}', 0) >= jobs)

    def until_ready(self) -> float:
        """Seconds from its start until it has listed everything once."""
        while True:
            with contextlib.suppress(urllib.error.HTTPError, OSError):
                if _get(self.host, self.health, "/readyz"):
                    return time.monotonic() - self.began
            if self.process.poll() is not None or time.monotonic() - self.began > PATIENCE:
                raise RuntimeError("the operator does not become ready")
            time.sleep(LOOK_EVERY)

    def metrics(self) -> dict[str, float]:
        """By series."""
        rows = (
            line.rpartition(" ") for line in _get(self.host, self.health, "/metrics").splitlines() if line[:1] != "#"
        )
        return {series: float(value) for series, _, value in rows}

    def memory(self) -> tuple[float, float]:
        """MiB that it occupies now, and that it ever did."""
        return _status(self.process.pid, "VmRSS"), _status(self.process.pid, "VmHWM")

    def seconds(self) -> float:
        """Of a processor, so far."""
        return cpu_seconds(self.process.pid)


def total(seen: dict[str, float], name: str) -> float:
    """Of all series of that metric."""
    return sum(value for series, value in seen.items() if series.partition("{")[0] == name)


def cpu_seconds(pid: int) -> float:
    """Of a processor, that a process has had so far."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def api(crowd: Crowd, module: str = "bench.scale.api") -> Iterator[Api]:
    """A fake API server that holds the crowd."""
    command = [sys.executable, "-m", module, json.dumps(crowd._asdict())]
    with _ended(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)) as process:
        if process.stdout is None:
            raise ValueError("it was started with pipes")
        yield Api(process, process.stdout.readline().strip())


@contextlib.contextmanager
def operator(url: str, program: Sequence[str] = ("-c", CLI, "operator"), **said: str) -> Iterator[Operator]:
    """One replica before that API server. `program` is what Python runs, `said` are settings."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config")
        config.write_text(KUBECONFIG.format(url=url))
        gateway, leader, health = free_ports(3)
        settings = {"POD_NAME": "operator-0", "POD_IP": "127.0.0.1", "HOST": "127.0.0.1", "NAMESPACE": "system"}
        settings |= {"GATEWAY_PORT": str(gateway), "LEADER_PORT": str(leader), "HEALTH_PORT": str(health)}
        settings |= {"KUBECONFIG": str(config)} | said
        environment = clean() | {f"CHECKPOINTHEAL_{key}": value for key, value in settings.items()}
        with Path(folder, "log").open("w") as log:
            process = subprocess.Popen([sys.executable, *program], env=environment, stderr=log, text=True)
            began = time.monotonic()
            try:
                with _ended(process):
                    yield Operator(process, gateway, health, began, settings["HOST"])
            except BaseException:
                print(Path(folder, "log").read_text()[-3000:], file=sys.stderr)
                raise


@contextlib.contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A command of ours."""
    with _ended(
        subprocess.Popen([sys.executable, "-c", CLI, *words], env=clean(), stderr=subprocess.DEVNULL, text=True)
    ) as process:
        yield process


def clean() -> dict[str, str]:
    """An environment that says nothing of a cluster or of us."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("CHECKPOINTHEAL_", "KUBERNETES_"))}


def free_ports(number: int) -> list[int]:
    """Of this moment."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in listeners]


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Whatever happens, nothing of it stays."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _get(host: str, port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def _status(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(name)
