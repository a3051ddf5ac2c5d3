"""Every stable group of this process: the default one, and each that `new_group` or a DeviceMesh asks for.

Made without asking anybody, so that a restarted member can do it alone; filled for each epoch in the order in which all
ranks made theirs. Must not know states or the agent.
"""

import os
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import HashStore, PrefixStore, Store  # type: ignore[attr-defined]

from checkpointheal.errors import GroupElsewhere, Misuse, TorchTooOld
from checkpointheal.trainer.faults import Faults
from checkpointheal.trainer.inside import Connections, make_inside
from checkpointheal.trainer.stable_group import BACKEND, StableGroup
from checkpointheal.trainer.watchdog import calmed

SEEN_FROM = (2, 6)
"""Of torch: nobody has tried an older one."""


class Groups:
    """All of them, and what is inside. `rank` and `size` are the world's."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._groups: list[StableGroup] = []
        self._store: Store | None = None
        self._faults = Faults()
        self._inside: list[Any] = []
        self._connections: Connections | None = None

    def create(self, asked: Any) -> StableGroup:
        """The group that torch asks for. Made in the middle of an epoch, as by all ranks, it is filled at once."""
        group = StableGroup(asked.group_id, asked.group_rank, asked.group_size)
        self._groups.append(group)
        if self._store is not None:
            self._fill(group, self._store)
        return group

    def open(self, store: Store, faults: Faults) -> None:
        """Put an inside into each, over this epoch's store. Raises RuntimeError where members are missing."""
        self._connections, self._inside = Connections(), []
        self._faults = faults
        for group in self._groups:
            self._fill(group, store)
        self._store = store

    def met(self) -> None:
        """All that the epoch needs is there: connections that are made from now on are somebody else's."""
        if self._connections is not None:
            self._connections.all_made()

    def between(self, name: str, ranks: list[int]) -> Any:
        """A group of this epoch alone, of these of the world's ranks; None where this one is not among them."""
        if self._store is None or self.rank not in ranks:
            return None
        return make_inside(PrefixStore(name, self._store), ranks.index(self.rank), len(ranks))

    def refuse(self, faults: Faults) -> None:
        """There is nobody to speak with in this epoch; `faults.refusal` says why."""
        for group in self._groups:
            group.fill(None, faults)

    def end(self) -> None:
        """End what is blocked in a collective. May be called from another thread, and again and again."""
        if self._connections is not None:
            self._connections.end(self._inside)

    def shut(self) -> None:
        """Take every inside out; the groups are mirrors until the next epoch.

        Peers hear at once that this one has left, whoever still holds on to a group or to work of it.
        """
        self.end()
        self._faults, self._store, self._connections = Faults(), None, None
        for group in self._groups:
            group.fill(None, self._faults)
        self._inside = []

    def _fill(self, group: StableGroup, store: Store) -> None:
        inside = make_inside(PrefixStore(group.group_name, store), group.rank(), group.size())
        self._inside.append(inside)
        group.fill(inside, self._faults)


_groups: Groups | None = None
"""Torch's world, which it stands for, is one per process too."""


def groups() -> Groups:
    """This process's, made at the first call.

    Raises GroupElsewhere, TorchTooOld, WatchdogKills, and Misuse where its rank is not known.
    """
    global _groups  # noqa: PLW0603
    if _groups is None:
        require_torch(torch.__version__)
        if dist.is_initialized():
            raise GroupElsewhere(
                "there is a default process group already, which no epoch can replace: call heal.process_group() in "
                "place of init_process_group()"
            )
        if torch.cuda.is_available() and dist.is_nccl_available():
            os.environ.update(calmed(os.environ))
        _groups = Groups(*_place(os.environ))
        if not hasattr(dist.Backend, BACKEND.upper()):
            devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
            dist.Backend.register_backend(BACKEND, _create, extended_api=True, devices=devices)
        # A store of this process alone: making a stable group asks nobody.
        dist.init_process_group(BACKEND, store=HashStore(), rank=_groups.rank, world_size=_groups.size)
    return _groups


def require_torch(version: str) -> None:
    """Raise TorchTooOld where groups of this kind were not seen to work."""
    major, minor = version.split(".")[:2]
    if (int(major), int(minor)) < SEEN_FROM:
        wanted = ".".join(map(str, SEEN_FROM))
        raise TorchTooOld(
            f"survivors keep their process from torch {wanted} on, this is {version}: use a newer one, or "
            "init_process_group(), restore() and agree() in place of process_group() and epochs()"
        )


def _create(asked: Any, _options: object) -> StableGroup:
    return groups().create(asked)


def process_group() -> dist.ProcessGroup:
    """The default group, for DDP, FSDP2 and DeviceMesh: it stays while members come and go.

    Call it in place of `init_process_group`. Without an agent it is torch's own, by torchrun's variables, or a world of
    this process alone.
    """
    if os.environ.get("CHECKPOINTHEAL_ARENA"):
        groups()
    elif not dist.is_initialized():
        _plain()
    return dist.distributed_c10d._get_default_group()  # noqa: SLF001 `dist.group.WORLD`, which is None in torch 2.6


def _plain() -> None:
    if "RANK" in os.environ:
        dist.init_process_group()
    else:
        dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)


def _place(environment: Mapping[str, str]) -> tuple[int, int]:
    try:
        return int(environment["RANK"]), int(environment["WORLD_SIZE"])
    except (KeyError, ValueError) as error:
        raise Misuse(
            f"RANK and WORLD_SIZE tell which member of how many this is, as torchrun sets them: {error}"
        ) from error
