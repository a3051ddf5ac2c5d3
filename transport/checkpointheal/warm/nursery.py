"""What does a warm process do? It imports, waits, and forks a trainer each time that `run` asks for one.

A trainer is forked twice, so that it becomes `run`'s own child, and it passes a gate that opens only when it has: until
then it can be called off. Must not know the agent, nor what is told to the trainer, and starts no thread.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import os
import signal
import sys
from collections.abc import Iterator

from checkpointheal.contract.process import WARM
from checkpointheal.warm import COLD, ORDERS, PATIENT, READY, WORD_LIMIT
from checkpointheal.warm.fitness import unfit_because

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
CALLED_OFF = 127
FROM_AFAR = "PYTORCH_NVML_BASED_CUDA_CHECK"
"""Has `torch.cuda.is_available()` ask the driver's manager: asked itself, CUDA is lost to whatever is forked later."""
PATIENCE = 10
"""Nice value of the imports: they go on beside a busy trainer, but it comes first."""
_GO = b"!"


def keep(cold: frozenset[str], hook: str) -> bool:
    """Returns only in a trainer, ready to run its command: whether a `sitecustomize` of the user's was hidden by ours.

    `cold`: the modules that every Python has at this point; `hook`: the entry of the import path that led here.
    """
    line, run, manner, modules = _take_orders(hook)
    own_name = _be_named(WARM)
    hidden = _import_hidden()
    ordinary = _be_patient() if manner == PATIENT else os.getpriority(os.PRIO_PROCESS, 0)
    with _cuda_is_asked_from_afar():
        missing = _bring(modules)
    _be_ordinary(ordinary)
    reason = missing or unfit_because(cold)
    if reason:
        os.write(line, f"{COLD} {' '.join(reason.split())}".encode()[:WORD_LIMIT])
        os._exit(0)
    gc.collect()
    gc.freeze()  # the collector of a trainer would touch, and so copy, every page that they share
    asked = _serve(line, run)
    if asked is None:
        os._exit(0)
    os.close(line)
    _be_named(own_name)
    _begin(asked)
    return hidden


def _serve(line: int, run: int) -> str | None:
    """Fork whenever asked to. In a trainer, what it was asked for with; None once `run` has hung up, or died."""
    with contextlib.suppress(ConnectionError):
        os.write(line, READY.encode())
        while asked := os.read(line, WORD_LIMIT):
            if _is_trainer(line, run):
                return asked.decode()
    return None


def _take_orders(hook: str) -> tuple[int, int, str, list[str]]:
    """What `run` wants; afterwards the environment and the import path are the user's again."""
    line, run, manner, *modules = os.environ.pop(ORDERS).split()
    os.set_inheritable(int(line), False)
    users = os.environ.pop("PYTHONPATH").partition(os.pathsep)[2]
    if users:
        os.environ["PYTHONPATH"] = users
    sys.path.remove(hook)
    sys.path_importer_cache.pop(hook, None)
    return int(line), int(run), manner, modules


def _import_hidden() -> bool:
    del sys.modules["sitecustomize"]
    try:
        importlib.import_module("sitecustomize")  # the next one on the path
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
        return False
    return True


def _bring(modules: list[str]) -> str | None:
    """Import what is there of `modules`; returns the reason where one of them is there and fails."""
    for name in modules:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            continue  # the trainer can do without it, then
        except Exception as error:  # whatever a module of somebody else's raises
            return f"importing {name} failed: {error}"
    return None


@contextlib.contextmanager
def _cuda_is_asked_from_afar() -> Iterator[None]:
    """Unless the user has said how; trainers find what the user has said."""
    users = os.environ.get(FROM_AFAR)
    os.environ.setdefault(FROM_AFAR, "1")
    yield
    if users is None:
        os.environ.pop(FROM_AFAR, None)


def _be_named(name: str) -> str:
    """Take a name in the kernel, for `ps` and whoever looks for the trainer; returns the one before."""
    with open("/proc/self/comm") as comm:
        before = comm.read().strip()
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode())
    return before


def _be_patient() -> int:
    """Lower the priority where that can be taken back, for trainers inherit it; returns the ordinary one."""
    ordinary = os.getpriority(os.PRIO_PROCESS, 0)
    trial = os.fork()
    if trial == 0:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, ordinary + 1)
            os.setpriority(os.PRIO_PROCESS, 0, ordinary)
            os._exit(0)
        os._exit(1)
    if os.waitpid(trial, 0)[1] == 0:
        os.setpriority(os.PRIO_PROCESS, 0, ordinary + PATIENCE)
    return ordinary


def _be_ordinary(ordinary: int) -> None:
    if os.getpriority(os.PRIO_PROCESS, 0) != ordinary:
        os.setpriority(os.PRIO_PROCESS, 0, ordinary)


def _is_trainer(line: int, run: int) -> bool:
    """Fork a trainer and tell `run` its pid. True in the trainer, once it is `run`'s child and dies with it."""
    gate, opener = os.pipe()
    told, teller = os.pipe()
    between = os.fork()
    if between == 0:
        _fork_and_leave(teller)
        for each in (opener, told, teller):
            os.close(each)
        _pass(gate, run)
        return True
    os.close(teller)
    os.close(gate)
    os.waitpid(
        between, 0
    )  # only now is the trainer `run`'s child, and a leader of its group before anybody hears of it
    os.write(line, os.read(told, 32) or COLD.encode())
    os.write(opener, _GO)
    os.close(told)
    os.close(opener)
    return False


def _fork_and_leave(teller: int) -> None:
    """Returns in the trainer alone."""
    try:
        trainer = os.fork()
    except OSError:  # too many processes: `run` hears that there is none
        os._exit(1)
    if trainer:
        os.setpgid(trainer, trainer)
        os.write(teller, str(trainer).encode())
        os._exit(0)


def _pass(gate: int, run: int) -> None:
    """Wait until the warm process has told our pid; leave where it ended without, or `run` did."""
    opened = os.read(gate, 1)
    os.close(gate)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if opened != _GO or os.getppid() != run:
        os._exit(CALLED_OFF)


def _begin(asked: str) -> None:
    """Take what a start takes from the system: variables, numbers, seeds. `random` sees a fork by itself."""
    atexit.register(gc.unfreeze)  # what is frozen would not be taken down, and some libraries complain
    name, _, value = asked.partition("=")
    os.environ[name] = value
    if threading := sys.modules.get("threading"):
        threading.main_thread()._set_native_id()  # noqa: SLF001 as multiprocessing does after its forks
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()
    if torch := sys.modules.get("torch"):
        torch.default_generator.seed()
