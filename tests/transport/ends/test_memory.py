"""New memory is memory, of whatever size."""

import pytest

from checkpointheal.ends import memory


@pytest.mark.parametrize("size", [0, 1, memory.WORTH - 1, memory.WORTH, memory.WORTH + 12_345, 5 * memory.HUGE])
def test_new_memory_holds_what_is_written_into_it(size: int) -> None:
    new = memory.new(size)
    new.fill_(7)
    assert (new.numel(), new.sum().item()) == (size, 7 * size)
    new.untyped_storage().resize_(2 * size)
    assert new.sum().item() == 7 * size


def test_more_than_there_is_is_refused() -> None:
    with pytest.raises(RuntimeError):
        memory.new(1 << 60)
