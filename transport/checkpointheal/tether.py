"""Start CMD so that it dies when its parent does: `python -I -S tether.py PARENT CMD …`.

A program of its own, run by path and replaced by CMD: the same from `checkpointheal run` and from a supervisor that
has threads, where code between fork and exec may deadlock. Must not import more than it needs: it stands before every
start.

The kernel ties CMD to the parent's *thread*, so the parent has to start it from a thread that lives as long as itself.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
NOT_STARTED = 127


def main() -> int:
    """Become CMD; returns an exit status only where that fails."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before the kernel was told
        return NOT_STARTED
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by every Python, and that outlives exec
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 the user's command, as given
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return NOT_STARTED


if __name__ == "__main__":
    sys.exit(main())
