"""What every test of ours runs under."""

import gc
import logging
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A slow machine is no failure: nothing here is asked how long it took.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Tests are collected by whether there is a GPU, and fork ranks: had torch asked CUDA itself, no rank could use it.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

# A shell that starts us in the background has us ignore the keyboard's signals, and all that we start would.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)


def pytest_collection_finish() -> None:
    """Modules and tests stay as they are: at an epoch a trainer looks through all objects, with them for seconds."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _logging_stays_as_it_was() -> Iterator[None]:
    """A command that is called in this process logs to a standard error that is closed after its test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for each in [each for each in root.handlers if each not in handlers]:
        root.removeHandler(each)
    root.setLevel(level)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A memory file system of 16 MiB."""
    directory = tmp_path / "small"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "arena", directory], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


@pytest.fixture
def home() -> Iterator[Path]:
    """Memory, as an arena has."""
    directory = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield directory
    shutil.rmtree(directory)
