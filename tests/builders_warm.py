"""Builders: trainers forked from a real warm process one after the other, and the same ones started cold.

The trainers' life is told by the variable `CASE`, so that one warm process serves a whole table.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

SECONDS = 120.0
DRIVER = r"""
import os, select, signal, sys
from checkpointheal.run import trainer, warm

modules, cases, command = sys.argv[1].split(","), sys.argv[2].split(","), sys.argv[3:]
trainer.adopt_orphans()
nursery = warm.Warm(command, modules)
nursery.start()
select.select([nursery], [], [])
sentence = nursery.hear(0.0)
if not nursery.ready:
    sys.exit(sentence)
for case in cases:
    pid = nursery.fork(f"CASE={case}", 0.0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for stream in (1, 2):
        os.write(stream, f"\x1e{code}\x1e".encode())
nursery.drop(0.0)
"""


class Told(NamedTuple):
    """All that can be seen of a process from outside."""

    code: int
    out: str
    err: str


def cold(case: str, command, cwd: Path, **variables: str) -> Told:
    """The user's own start of it."""
    environment = _environment(variables) | {"CASE": case}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        start_new_session=True,
    )
    return Told(done.returncode, done.stdout, done.stderr)


def warm(cases, command, cwd: Path, modules: str = "json", **variables: str) -> dict[str, Told]:
    """The same start, of each case, from one warm process. SystemExit with its words where it will not be forked."""
    driver = [sys.executable, "-P", "-c", DRIVER, modules, ",".join(cases), *command]
    done = subprocess.run(
        driver,
        cwd=cwd,
        env=_environment(variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    out, err = done.stdout.split("\x1e"), done.stderr.split("\x1e")
    return {case: Told(int(out[2 * at + 1]), out[2 * at], err[2 * at]) for at, case in enumerate(cases)}


DYING = r"""
import os, select, signal, sys, time
from checkpointheal.run import trainer, warm

trainer.adopt_orphans()
nursery = warm.Warm(sys.argv[2:], ["json"])
nursery.start()
select.select([nursery], [], [])
nursery.hear(0.0)
nursery._socket.send(b"CASE=orphan")
time.sleep(float(sys.argv[1]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def asked_and_died(after: float, command, cwd: Path) -> bytes:
    """All that came out of a trainer that was asked for, and of the warm process, until both are gone.

    `after`: seconds between the question and the death of who asked.
    """
    driver = [sys.executable, "-P", "-c", DYING, str(after), *command]
    with subprocess.Popen(driver, cwd=cwd, env=_environment({}), stdout=subprocess.PIPE) as asking:
        out, _ = asking.communicate(timeout=SECONDS)  # the pipe closes when its last holder is gone
    return out


def _environment(variables) -> dict[str, str]:
    folder = str(Path(sys.executable).parent)
    ours = ("CHECKPOINTHEAL_", "COV", "PYTORCH_NVML_")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return inherited | {"PATH": os.pathsep.join((folder, inherited.get("PATH", os.defpath)))} | variables
