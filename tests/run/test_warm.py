"""A trainer from a warm process is seen, by itself and from outside, to be what a cold start is."""

import json
import os
import sys
import textwrap

import pytest

from builders_warm import asked_and_died, cold, warm
from checkpointheal.run.warm import MODULES

ENDS = {
    "returns": "print('done')",
    "exits_with_a_number": "raise SystemExit(7)",
    "exits_with_a_sentence": "sys.exit('no data')",
    "exits_with_nothing": "sys.exit()",
    "fails": "def step():\n    raise ValueError('loss is nan')\nstep()",
    "fails_with_a_cause": "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise KeyError('state') from error",
    "does_not_parse": "exec('def')",
    "is_interrupted": "import signal\nos.kill(os.getpid(), signal.SIGINT)\nimport time\ntime.sleep(60)",
    "is_killed": "os.kill(os.getpid(), 9)",
    "ends_at_once": "print('not flushed')\nos._exit(4)",
    "leaves_words_in_the_buffer": "sys.stdout.write('half a line')",
    "tells_its_own_way": (
        "def tell(kind, value, frames): print(kind.__name__, value, frames.tb_lineno)\nsys.excepthook = tell\n1 / 0"
    ),
    "has_last_wishes": "import atexit\natexit.register(print, 'goodbye')\nraise SystemExit(3)",
    "waits_for_its_threads": (
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), print('thread done'))).start()"
    ),
    "takes_its_objects_down": "class Kept:\n    def __del__(self): print('taken down')\nkept = Kept()",
    "warns": "import warnings\nwarnings.warn('old')",
}
LOOKS = """
import json, os, signal, sys, threading
ORDINARY = (1 << 31) - 1  # above them are the C library's own, which it may have inherited
main, streams = vars(sys.modules["__main__"]), (sys.stdout, sys.stderr)
seen = {
    "arguments": (sys.argv, sys.orig_argv), "flags": str(sys.flags), "x": sys._xoptions, "warnings": sys.warnoptions,
    "main": {key: str(main[key]).partition(" at 0x")[0] for key in main if key.startswith("__") and "built" not in key},
    "names": sorted(main), "path": sys.path, "executable": sys.executable,
    "hooked": [path for path in (*sys.path, *sys.path_importer_cache) if path.endswith("hook")],
    "environment": dict(os.environ), "folder": os.getcwd(), "umask": os.umask(0o22), "stdin": sys.stdin.read(),
    "streams": [(each.line_buffering, each.write_through, each.isatty()) for each in streams],
    "signals": {number: str(signal.getsignal(number)) for number in signal.valid_signals()},
    "blocked": list(signal.pthread_sigmask(0, [])),
    "ignored": [int(line.split()[1], 16) & ORDINARY for line in open("/proc/self/status") if line.startswith("SigIgn")],
    "leads": os.getpgid(0) == os.getpid(), "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "descriptors": sorted(os.listdir("/proc/self/fd")), "frames": sys._getframe().f_back is None,
    "threads": threading.active_count(), "customized": "sitecustomize" in sys.modules,
    "thread": threading.main_thread().ident == threading.get_ident(),
    "native thread": threading.main_thread().native_id == os.getpid(),
    "hash": hash("a") if os.environ.get("PYTHONHASHSEED") else None,
}
print(json.dumps(seen))
"""
FORMS = {
    "a script": ["python", "look.py", "--steps", "3", "-m", "-"],
    "a script elsewhere": ["python", "-u", "../look.py"],
    "a module": ["python", "-m", "look", "--steps"],
    "a module of a package": ["python", "-W", "error::UserWarning", "-m", "package.look"],
    "a package": ["python", "-m", "package"],
    "a folder": ["python", "-X", "utf8", "package"],
    "words": ["python", "-Oc", LOOKS, "more"],
    "options": ["python", "-bB", "-Xdev", "-OO", "-Wignore", "-q", "-s", "look.py"],
    "a safe path": ["python", "-P", "look.py"],
    "another name": ["python3", "look.py"],
    "a whole path": [sys.executable, "look.py"],
}


@pytest.fixture
def folder(tmp_path):
    """Where the same program lies in all forms."""
    inner = tmp_path / "inner"
    (inner / "package").mkdir(parents=True)
    for path in (
        tmp_path / "look.py",
        inner / "look.py",
        inner / "package" / "look.py",
        inner / "package" / "__main__.py",
    ):
        path.write_text(LOOKS)
    (inner / "package" / "__init__.py").touch()
    return inner


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """Each end, cold and warm."""
    folder = tmp_path_factory.mktemp("ends")
    bodies = "\n".join(
        f"if os.environ['CASE'] == {case!r}:\n{textwrap.indent(body, '    ')}" for case, body in ENDS.items()
    )
    (folder / "train.py").write_text(f"import os, sys\n{bodies}\n")
    command = ["python", "train.py"]
    return {case: cold(case, command, folder) for case in ENDS}, warm(ENDS, command, folder)


@pytest.mark.parametrize("case", ENDS)
def test_an_end_is_the_interpreters_own(ends, case):
    from_cold, from_warm = ends
    assert from_warm[case] == from_cold[case]


@pytest.mark.parametrize("form", FORMS)
def test_a_program_finds_itself_in_the_same_world(folder, form):
    variables = {"PYTHONHASHSEED": "7", "PYTHONPATH": str(folder / "elsewhere")} if form == "options" else {}
    from_cold = cold("look", FORMS[form], folder, **variables)
    from_warm = warm(["look"], FORMS[form], folder, "json,threading", **variables)["look"]
    assert json.loads(from_warm.out) == json.loads(from_cold.out)


@pytest.mark.parametrize(("there", "customized"), [(False, False), (True, True)])
def test_what_customizes_every_python_customizes_a_warm_one(folder, there, customized):
    (folder / "hooks").mkdir()
    if there:
        (folder / "hooks" / "sitecustomize.py").write_text("import builtins\nbuiltins.customized = __file__")
    (folder / "ask.py").write_text(
        "import builtins, sys\nprint(getattr(builtins, 'customized', None), sys.modules.get('sitecustomize'))"
    )
    hooks = {"PYTHONPATH": str(folder / "hooks")}
    from_cold = cold("ask", ["python", "ask.py"], folder, **hooks)
    assert ("hooks" in from_cold.out) == customized
    assert warm(["ask"], ["python", "ask.py"], folder, **hooks)["ask"] == from_cold


def test_modules_are_there_before_the_program_asks(folder):
    (folder / "ask.py").write_text("import sys; print('decimal' in sys.modules)")
    assert cold("ask", ["python", "ask.py"], folder).out == "False\n"
    assert warm(["ask"], ["python", "ask.py"], folder, "decimal")["ask"].out == "True\n"


def test_a_module_that_is_not_there_is_left_out(folder):
    (folder / "ask.py").write_text("print('trains')")
    assert warm(["ask"], ["python", "ask.py"], folder, "no_such_module,json")["ask"].out == "trains\n"


def test_an_edited_script_is_read_anew(folder):
    script = folder / "ask.py"
    script.write_text("import pathlib, os\nprint(1)\npathlib.Path(__file__).write_text('print(2)')")
    told = warm(["first", "second"], ["python", "ask.py"], folder)
    assert [told["first"].out, told["second"].out] == ["1\n", "2\n"]


def test_no_two_lives_draw_the_same(folder):
    (folder / "ask.py").write_text("import random, numpy\nprint(random.random(), numpy.random.random())")
    told = warm(["first", "second"], ["python", "ask.py"], folder, "random,numpy,numpy.random")
    drawn = [number for each in told.values() for number in each.out.split()]
    assert len(drawn) == len(set(drawn)) == 4


def test_processes_of_the_program_s_own_work(folder):
    (folder / "ask.py").write_text(
        "import multiprocessing, os\n"
        "def told(queue): queue.put(os.getppid())\n"
        "if __name__ == '__main__':\n"
        "    for how in ('fork', 'spawn', 'forkserver'):\n"
        "        context = multiprocessing.get_context(how)\n"
        "        queue = context.SimpleQueue()\n"
        "        child = context.Process(target=told, args=(queue,))\n"
        "        child.start(); child.join()\n"
        "        print(how, child.exitcode, (queue.get() == os.getpid()) == (how != 'forkserver'))\n"
    )
    told = warm(["ask"], ["python", "ask.py"], folder, "multiprocessing,socket")["ask"]
    assert told == (0, "fork 0 True\nspawn 0 True\nforkserver 0 True\n", "")


def importable(module):
    paths = (str(module.parent), os.environ.get("PYTHONPATH"))
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.fixture
def heavy(folder):
    """A module of the user's, to be written."""
    (folder / "modules").mkdir()
    return folder / "modules" / "heavy.py"


ASKED_CUDA = """
import os, sys
from types import SimpleNamespace as Object
def is_forked(mine=os.getpid()): return os.getpid() != mine
cuda = Object(is_initialized=lambda: False, device_count=lambda: DEVICES)
generator = Object(seed=lambda: None)
sys.modules["torch"] = Object(cuda=cuda, _C=Object(_cuda_isInBadFork=is_forked), default_generator=generator)
"""
"""A module that leaves a torch that was asked for its devices: it is of no use in a forked process."""


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (ASKED_CUDA.replace("DEVICES", "2"), "the imports asked CUDA for its devices"),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()", "1 thread"),
        ("import subprocess\nchild = subprocess.Popen(['sleep', '0'])", "the imports started a process"),
        ("raise ValueError('broken\\nin two')", "importing heavy failed: broken in two"),
    ],
)
def test_what_a_fork_would_lose_keeps_starts_cold(folder, heavy, module, sentence):
    heavy.write_text(module)
    with pytest.raises(SystemExit, match=f"all starts stay cold: .*{sentence}"):
        warm(["look"], ["python", "look.py"], folder, "heavy", **importable(heavy))


@pytest.mark.parametrize("without", ["DEVICES", "_cuda_isInBadFork"])
def test_where_there_is_no_device_to_lose_starts_are_warm_whatever_was_asked(folder, heavy, without):
    heavy.write_text(ASKED_CUDA.replace(without, {"DEVICES": "0"}.get(without, "no_CUDA")).replace("DEVICES", "2"))
    (folder / "ask.py").write_text("print('trains')")
    told = warm(["ask"], ["python", "ask.py"], folder, "heavy", **importable(heavy))
    assert told["ask"].out == "trains\n"


@pytest.mark.parametrize(("users", "seen"), [({}, "1 None\n"), ({"PYTORCH_NVML_BASED_CUDA_CHECK": "0"}, "0 0\n")])
def test_imports_ask_for_devices_from_afar_unless_the_user_says_how_and_trainers_find_what_the_user_said(
    folder, heavy, users, seen
):
    heavy.write_text("import os\nasked = os.environ.get('PYTORCH_NVML_BASED_CUDA_CHECK')")
    (folder / "ask.py").write_text(
        "import heavy, os; print(heavy.asked, os.environ.get('PYTORCH_NVML_BASED_CUDA_CHECK'))"
    )
    told = warm(["ask"], ["python", "ask.py"], folder, "heavy", **importable(heavy), **users)
    assert told["ask"].out == seen


@pytest.mark.parametrize(("form", "where"), [("a script", "."), ("a module", "."), ("a folder", "package")])
def test_a_file_that_would_hide_an_imported_module_keeps_starts_cold(folder, form, where):
    (folder / where / "decimal.py").write_text("mine = True")
    with pytest.raises(SystemExit, match=r"decimal\.py would hide the module decimal"):
        warm(["look"], FORMS[form], folder, "decimal")


def test_a_file_that_hides_what_nobody_imported_is_no_matter(folder):
    (folder / "decimal.py").write_text("mine = True")
    (folder / "ask.py").write_text("import decimal; print(decimal.mine)")
    assert warm(["ask"], ["python", "ask.py"], folder, "fractions_of_mine")["ask"].out == "True\n"


@pytest.mark.parametrize("milliseconds", range(0, 24, 3))
def test_who_dies_while_a_trainer_is_born_leaves_none(folder, milliseconds):
    (folder / "train.py").write_text("import time\nprint('trains', flush=True)\ntime.sleep(600)")
    assert b"trains\n".startswith(asked_and_died(milliseconds / 1000, ["python", "train.py"], folder))


TENSORS = """
import os, sys
import numpy, torch
from torch.utils.data import DataLoader
print(os.environ["CASE"], torch.initial_seed(), numpy.random.random(), file=sys.stderr)
square = torch.ones(300, 300)
if __name__ == "__main__":
    print(float((square @ square).sum()), numpy.ones((300, 300)).dot(numpy.ones((300, 300))).sum())
    print(torch.get_num_threads(), torch.cuda.is_initialized(), torch.is_grad_enabled())
    print(torch.cat(list(DataLoader(range(8), num_workers=2))).tolist())
"""


@pytest.mark.timeout(300)
def test_tensors_and_loaders_work_in_what_was_forked_after_torch(folder):
    (folder / "train.py").write_text(TENSORS)
    command = ["python", "train.py"]
    told = warm(["first", "second"], command, folder, ",".join(MODULES), OMP_NUM_THREADS="2")
    from_cold = cold("cold", command, folder, OMP_NUM_THREADS="2")
    assert from_cold.code == 0, from_cold.err
    assert [(each.code, each.out) for each in told.values()] == [(0, from_cold.out)] * 2
    seeds = {tuple(each.err.split()[1:3]) for each in (*told.values(), from_cold)}
    assert len(seeds) == 3
