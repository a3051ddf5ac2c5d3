"""Which random streams does this process draw from, and how are they put back?

Random streams are private: another rank's would repeat its dropout masks and batches. Must not know the arena.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from checkpointheal.errors import Misuse


def capture() -> dict[str, Any]:
    """The position of every stream: python, numpy's global one, torch on CPU and, once CUDA is used, on each device."""
    streams: dict[str, Any] = {
        "python": _as_array(random.getstate()),
        "numpy": _numpy_position(),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        streams["cuda"] = torch.cuda.get_rng_state_all()
    return streams


def as_restored() -> dict[str, Any]:
    """The position of every stream right behind a restore, which waits with CUDA's until somebody begins to use it."""
    if torch.cuda.is_available():
        torch.cuda.init()  # type: ignore[no-untyped-call]
    return capture()


def put_back(streams: Mapping[str, Any]) -> None:
    """Continue every captured stream where it was. Shapes are those of `capture`.

    Devices go by their numbers: of those beyond the captured ones the streams stay as they are, and where no device is
    at all, nobody draws from one. Raises Misuse as `check` does.
    """
    check(streams)
    random.setstate(python_position(streams["python"]))
    np.random.set_state(streams["numpy"])
    torch.set_rng_state(streams["torch"].clone())
    if "cuda" in streams and torch.cuda.is_available():
        torch.cuda.init()  # type: ignore[no-untyped-call]  # or what the program has seeded so far comes behind this
        torch.cuda.set_rng_state_all([state.clone() for state in streams["cuda"]])


def check(streams: Mapping[str, Any]) -> None:
    """Raise Misuse where a stream cannot be continued here.

    Where numpy draws by another bit generator than it did: its own `set_state` says no more than ValueError. Where some
    GPUs are visible, but fewer than then: whose stream a device is to have cannot be told.
    """
    then, now = _bit_generator(streams["numpy"]), _bit_generator(_numpy_position())
    if then != now:
        raise Misuse(
            f"numpy drew by {then} when its stream was kept, and draws by {now} here: let the program choose its bit "
            "generator (numpy.random.set_bit_generator) before restore(), the same one each time"
        )
    kept = len(streams.get("cuda", ()))
    if kept and 0 < (visible := torch.cuda.device_count()) < kept:
        raise Misuse(
            f"{kept} GPUs were visible when their random streams were kept, and {visible} here: let the trainer see as "
            "many as it did (the pod's limits, CUDA_VISIBLE_DEVICES)"
        )


def python_position(kept: Sequence[Any]) -> tuple[Any, ...]:
    """As `random.setstate` takes it, of a captured one."""
    version, words, *others = kept
    return (version, tuple(np.asarray(words).tolist()), *others)


def _numpy_position() -> Any:
    """A tuple of MT19937, as ever; of any other a mapping, which numpy warns of unless it was asked for."""
    position = np.random.get_state(legacy=False)  # once: it copies word by word, at each commit
    if _bit_generator(position) != "MT19937":
        return position
    state = position["state"]
    return "MT19937", state["key"], state["pos"], position["has_gauss"], position["gauss"]


def _bit_generator(position: Any) -> str:
    return str(position["bit_generator"] if isinstance(position, Mapping) else position[0])


def _as_array(position: tuple[Any, ...]) -> tuple[Any, ...]:
    """Hundreds of numbers, each a value of its own, would be most of what a commit takes to write a private part."""
    version, words, *others = position
    return (version, np.array(words, dtype=np.uint32), *others)
