"""Mixtures are known by their memory: exactly, for as long as it lives, and whoever asks."""

import pytest
import torch

from checkpointheal.ends import mixed
from checkpointheal.errors import TargetInvalid

WHY = "the node is gone"


def bytes_of(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.uint8)


def is_mixed(*regions: torch.Tensor) -> bool:
    try:
        mixed.require_whole(regions)
    except TargetInvalid:
        return True
    return False


def test_whoever_uses_a_byte_of_it_is_told_and_nobody_else() -> None:
    memory = bytes_of(100)
    mixed.mark([memory[20:40], memory[60:80]], WHY)
    for start in range(100):
        for end in range(start, 100):
            shares = any(start < behind and first < end and start < end for first, behind in ((20, 40), (60, 80)))
            assert is_mixed(memory[start:end]) == shares
    assert not is_mixed(memory.clone())
    assert not is_mixed()


def test_it_is_healed_once_all_of_it_is_filled() -> None:
    memory, other = bytes_of(100), bytes_of(10)
    mixed.mark([memory[20:40], other], WHY)
    for filled in ([memory], [other], [memory[21:], other], [memory[:39], other]):
        mixed.healed(filled)
        assert is_mixed(other)
    mixed.healed([memory[10:50], other])
    assert not is_mixed(memory, other)
    mixed.healed([memory])


def test_what_is_besides_counts_too() -> None:
    memory = bytes_of(10)
    known = mixed.mark([memory], WHY)
    with pytest.raises(TargetInvalid, match=WHY):
        mixed.require_whole((), known)
    mixed.forget(known)
    mixed.require_whole((), known)


def test_of_memory_that_is_gone_the_rest_counts() -> None:
    gone, here = bytes_of(10), bytes_of(10)
    mixed.mark([gone, here], WHY)
    del gone
    assert is_mixed(here)
    mixed.healed([here])
    assert not is_mixed(here)


def test_no_memory_is_kept_alive_and_none_is_taken_for_another() -> None:
    memory = mixed.mark([bytes_of(1 << 20)], WHY)
    assert all(span.is_gone for span in memory)
    for _ in range(8):
        assert not is_mixed(bytes_of(1 << 20))
    mixed.require_whole((), memory)
    mixed.forget(())
    mixed.forget(memory)


def test_two_mixtures_are_two() -> None:
    memory = bytes_of(20)
    mixed.mark([memory[:10]], WHY)
    mixed.mark([memory[10:]], WHY)
    mixed.healed([memory[:10]])
    assert not is_mixed(memory[:10])
    assert is_mixed(memory[10:])
    mixed.healed([memory])
