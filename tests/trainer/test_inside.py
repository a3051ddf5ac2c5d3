"""What NCCL is told when it is put inside, and what it tells of itself."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from checkpointheal.trainer import inside as room
from checkpointheal.trainer.groups import Groups
from checkpointheal.trainer.inside import is_broken, make_inside

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


class Inside:
    """A group over such a backend of CUDA's; None: it has none."""

    def __init__(self, backend: Any = None) -> None:
        self._device_types = [CPU] if backend is None else [CPU, CUDA]
        self._backend = backend

    def _get_backend(self, device: torch.device) -> Any:
        assert device == CUDA
        return self._backend


def saying(error: str) -> Any:
    return Inside(SimpleNamespace(get_error=lambda: SimpleNamespace(name=error)))


def test_nccl_never_gives_a_collective_up_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Nccl(dist.ProcessGroupGloo):
        """Stands in for it where there is no GPU."""

        Options = SimpleNamespace

        def __init__(self, store: Any, rank: int, size: int, options: Any) -> None:
            super().__init__(store, rank, size, timedelta(minutes=1))
            asked.append(options)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    monkeypatch.setattr(dist, "ProcessGroupNCCL", Nccl, raising=False)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    make_inside(dist.HashStore(), 0, 1)
    assert [each._timeout for each in asked] == [room.NCCL_TIMEOUT]
    assert timedelta(days=7) < room.NCCL_TIMEOUT


@pytest.mark.parametrize("error", ["TIMEOUT", "COMM_ERROR", "REMOTE_ERROR"])
def test_one_broken_communicator_among_them_is_found(error: str) -> None:
    groups = Groups(0, 1)
    groups._inside = [saying("SUCCESS"), Inside()]
    assert not groups.is_broken()
    groups._inside.append(saying(error))
    assert groups.is_broken()


def test_a_torch_that_does_not_say_is_not_asked() -> None:
    assert not is_broken(Inside(SimpleNamespace()))  # type: ignore[arg-type]
