"""What NCCL is told when it is put inside, and what it tells of itself."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from checkpointheal.trainer import groups as group_room
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


class Aborted:
    """A group over NCCL that writes down what it is told."""

    _device_types: tuple[torch.device, ...] = (CPU, CUDA)

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.told.append(name) or self

    def _get_backend(self, _device: torch.device) -> Any:
        return self


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> tuple[Groups, Aborted]:
    """A group for a moment, and all that there are."""
    monkeypatch.setattr(group_room, "make_inside", lambda *_: Aborted())
    groups = Groups(0, 2)
    groups.open(dist.HashStore(), groups._faults, [0, 1])
    return groups, groups.between("begin/0", [0, 1])


def test_a_group_for_a_moment_is_ended_with_the_others(between: tuple[Groups, Aborted]) -> None:
    groups, inside = between
    groups.met()
    groups.end()
    assert inside.told == ["abort"]


def test_a_group_for_a_moment_lets_go_of_the_device_once_all_are_through(between: tuple[Groups, Aborted]) -> None:
    groups, inside = between
    groups.part(inside)
    groups.end()
    assert inside.told == ["barrier", "wait", "abort"]


def test_who_is_not_among_them_has_no_group_for_a_moment(between: tuple[Groups, Aborted]) -> None:
    groups, _ = between
    assert groups.between("begin/1", [1]) is None


def test_where_there_is_no_device_parting_asks_nobody() -> None:
    inside = Aborted()
    inside._device_types = (CPU,)
    room.part(inside)  # type: ignore[arg-type]
    assert inside.told == []


def test_a_torch_that_does_not_say_is_not_asked() -> None:
    assert not is_broken(Inside(SimpleNamespace()))  # type: ignore[arg-type]


def test_backends_outlive_their_group() -> None:
    gone: list[str] = []

    class Mortal:
        def __init__(self, name: str) -> None:
            self.name = name

        def __del__(self) -> None:
            gone.append(self.name)

    inside = room.Inside(Mortal("group"), [Mortal("backend")])  # type: ignore[arg-type]
    assert inside.name == "group"
    del inside
    assert gone == ["group", "backend"]
