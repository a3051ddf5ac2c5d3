"""Children of the test's own process, forked, so that what they need is imported already."""

import atexit
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable


def fork(act: Callable[[], None]) -> int:
    """A child that does `act` and ends as a Python process does: hooks, exit handlers, status. Returns its pid."""
    child = os.fork()
    if child:
        return child
    gc.freeze()  # the parent's garbage holds groups whose threads are not here: collecting it crashes
    status = 1
    try:
        atexit._clear()
        sys.excepthook = sys.__excepthook__
        status = _as_a_program(act)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _as_a_program(act: Callable[[], None]) -> int:
    status = 0
    try:
        act()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    try:
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    return status


def fork_for(seconds: float, act: Callable[[], None]) -> int:
    """The same, and it is ended should it last longer: where it would wait for ever if the test fails."""

    def bounded() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest may have its own
        signal.alarm(int(seconds))
        act()

    return fork(bounded)


def wait(child: int) -> int:
    """The child's exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
