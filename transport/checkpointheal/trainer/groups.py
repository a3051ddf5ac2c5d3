"""Every stable group of this process: the default one, and each that `new_group` or a DeviceMesh asks for.

Made without asking anybody, so that a restarted member can do it alone; filled for each epoch in the order in which all
ranks made theirs. Must not know states or the agent.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import HashStore, PrefixStore, Store  # type: ignore[attr-defined]

from checkpointheal.errors import GroupElsewhere, Misuse, TorchTooOld
from checkpointheal.trainer.deadline import unless
from checkpointheal.trainer.faults import Faults
from checkpointheal.trainer.inside import Connections, is_broken, make_inside, part
from checkpointheal.trainer.named_backends import stand_for_named
from checkpointheal.trainer.stable_group import BACKEND, StableGroup
from checkpointheal.trainer.watchdog import calmed

SEEN_FROM = (2, 6)
"""Of torch: nobody has tried an older one."""


class Groups:
    """All of them, and what is inside. `rank` and `size` are the world's, whoever is left out of an epoch."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._present = tuple(range(size))
        self._groups: list[StableGroup] = []
        self._store: Store | None = None
        self._faults = Faults()
        self._inside: list[Any] = []
        self._connections: Connections | None = None
        self._is_settled = False

    def create(self, asked: Any) -> StableGroup:
        """The group that torch asks for. Once all epochs are through it is filled at once.

        Raises Misuse among epochs: a member that comes back would not make it where the others have.
        """
        if self._is_settled:
            raise Misuse(
                "a group cannot be made among the epochs: a member that comes back has not made it when the others "
                "meet it, and all would wait for each other; make it before heal.epochs(), and use it inside"
            )
        group = StableGroup(asked.group_id, asked.group_rank, asked.group_size, asked.global_ranks_in_group)
        group.when_destroyed = self._drop
        self._groups.append(group)
        if self._store is not None:
            self._fill(group, self._store)
        return group

    def settle(self) -> None:
        """From now on those that there are meet in each epoch: none may be made, and one that goes is met all the same.

        A torch before 2.15 does not say what it has destroyed until now.
        """
        if not self._is_settled:
            self._is_settled = True
            self._groups = [each for each in self._groups if each in _known()]

    def unsettle(self) -> None:
        """The last epoch is through."""
        self._is_settled = False

    def open(self, store: Store, faults: Faults, present: Sequence[int]) -> None:
        """Put an inside into each, over this epoch's store, for those of the world's ranks that are in it.

        Where some are left out, ranks are counted without them. Raises RuntimeError where members are missing.
        """
        self._connections, self._inside = Connections(), []
        self._faults, self._present = faults, tuple(present)
        for group in self._groups:
            self._fill(group, store)
        self._store = store

    def met(self) -> None:
        """All that the epoch needs is there: connections that are made from now on are somebody else's."""
        if self._connections is not None:
            self._connections.all_made()

    def between(self, name: str, ranks: list[int]) -> Any:
        """A group of this epoch alone, of these of its ranks; None where this one is not among them.

        `part` with it once it has done what it was made for.
        """
        own = self._present.index(self.rank)
        if self._store is None or own not in ranks:
            return None
        inside = self._make(PrefixStore(name, self._store), ranks.index(own), len(ranks))
        self._inside.append(inside)  # a peer may be lost in it
        return inside

    def part(self, inside: Any) -> None:
        """Let go of what `between` made, once this one is through with it. Raises RuntimeError where a peer is lost.

        Else its communicator would hold its memory on a device for as long as the process lives.
        """
        part(inside)
        self._inside = [each for each in self._inside if each is not inside]

    def refuse(self, faults: Faults) -> None:
        """There is nobody to speak with in this epoch; `faults.refusal` says why."""
        for group in self._groups:
            group.fill(None, faults)

    def end(self) -> None:
        """End what is blocked in a collective. May be called from another thread, and again and again."""
        connections = self._connections  # `shut` may take them away meanwhile
        if connections is not None:
            connections.end(self._inside)

    def is_broken(self) -> bool:
        """Whether a communicator has failed by itself: collectives that are queued behind that come to nothing."""
        return any(map(is_broken, self._inside))

    def shut(self) -> None:
        """Take every inside out; the groups are mirrors until the next epoch.

        Peers hear at once that this one has left, whoever still holds on to a group or to work of it.
        """
        self.end()
        self._faults, self._store, self._connections = Faults(), None, None
        self._present = tuple(range(self.size))
        for group in self._groups:
            group.fill(None, self._faults)
            group.sit_as_made()
        self._inside = []

    def _drop(self, group: StableGroup) -> None:
        """Torch has destroyed it. Among epochs it stays: a member that comes back makes it, and waits for its peers."""
        if not self._is_settled:
            self._groups = [each for each in self._groups if each is not group]
            self._inside = [each for each in self._inside if each is not group.inside]
            group.fill(None, self._faults)

    def _fill(self, group: StableGroup, store: Store) -> None:
        members = [rank for rank in group.ranks if rank in self._present]
        rank, size = members.index(self.rank), len(members)
        inside = self._make(PrefixStore(group.group_name, store), rank, size)
        self._inside.append(inside)
        group.sit(rank, size)
        self._name_ranks(group, members)
        group.fill(inside, self._faults)

    def _make(self, store: Store, rank: int, size: int) -> Any:
        """Gloo waits for a peer to connect that has been lost since it said where it is: there is no socket to shut."""
        faults = self._faults
        return unless(lambda: faults.over, lambda: make_inside(store, rank, size))

    def _name_ranks(self, group: StableGroup, members: Sequence[int]) -> None:
        """Torch keeps which rank of the world is which of a group; here the world's are counted without the absent."""
        if group in (known := _known()):
            known[group] = {self._present.index(rank): place for place, rank in enumerate(members)}


def _known() -> dict[Any, dict[int, int]]:
    """Each group that torch has, and which rank of the world is which of it."""
    known: dict[Any, dict[int, int]] = dist.distributed_c10d._world.pg_group_ranks  # noqa: SLF001 no public word for it
    return known


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
            stand_for_named()
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
