"""Every error of the transport wing, and who broke the rule.

    CheckpointHealError
    ├── Misuse                 the caller asks for what cannot be: mend the program
    │   ├── AlreadyAttached        this process, or another, already speaks for the arena
    │   ├── NoLocalRank            nothing tells which of its pod's seats a trainer sits in, or there is no such seat
    │   ├── UnsupportedLeaf        a leaf of the state dict that cannot cross; names its path and type
    │   ├── UnknownClass           the offered state holds a class that is not known here; names its path
    │   │   └── ClassDiffers           it is known, but cannot be made of the parts that were offered: another version
    │   ├── SchemaDiffers          target and offered state do not fit; names each difference
    │   ├── PrivateStateTooLarge   private state over its limit
    │   ├── RestoreDisagrees       the ranks of one job did not restore the same thing
    │   ├── AppliedStateDiffers    the loaded objects do not hold the bytes that they were given
    │   ├── TargetInvalid          a live state is used that a broken transfer or restore left half filled
    │   ├── NotRestored            commit before restore
    │   ├── WatchdogKills          NCCL is told to end the process, or to abort by itself, and survivors are to go on
    │   ├── GroupElsewhere         a process group that was made without us, where ours must be the default one
    │   ├── BucketsRebuilt         a DDP that gives its gradients other buckets after its first step
    │   ├── HookCounts             a DDP whose hook counts its own steps; a member that comes back counts from 0
    │   └── TorchTooOld            this torch lacks what a survivor needs
    ├── PeerBroke              the other side broke the protocol: abort the attempt
    │   ├── BadFrame               bytes that are no frame of ours, or break a limit
    │   ├── UnknownVersion         a version that this build does not speak
    │   ├── BytesDiffer            a chunk or a state whose digest is not the promised one
    │   ├── DonorsDisagree         several donors hold different states, and no majority the same
    │   ├── UntrustedPeer          the other end of the connection is not who it should be
    │   └── PeerRefused            the peer said no, and why
    └── WorldFailed            nobody broke a rule: try again, elsewhere or later
        ├── PeerLost               the connection to the peer is gone
        ├── Overdue                nothing came within the time allowed
        ├── Abandoned              this attempt was called off
        ├── ArenaDoesNotFit        the arena is smaller than the state, or its medium is full
        ├── NoRoomForDrill         a drill would need memory that is not to spare
        ├── Overtaken              training wrote over the state that a drill was reading
        ├── NoArena                no arena lies in the directory
        ├── SlotDamaged            a slot whose bytes are not what its seal says
        │   └── NotSealed              it has no seal: empty, or being written
        ├── AgentGone              no agent answers
        ├── EpochOver              a member was lost, so what this epoch computes is worth nothing any more
        ├── RendezvousFailed       the members of an epoch did not meet
        └── PeersDone              the others have finished: nobody is left for a collective

Each carries `reason`, its own name: the word that reports, conditions and logs use.
"""

from collections.abc import Sequence

from checkpointheal.contract.layout import Difference


class CheckpointHealError(Exception):
    """Root of the wing's errors. `str()` is one sentence that names the thing and, where there is one, the remedy."""

    @property
    def reason(self) -> str:
        """The PascalCase word for it."""
        return type(self).__name__


class Misuse(CheckpointHealError):
    """The caller asks for what cannot be."""


def as_told(error: BaseException) -> CheckpointHealError:
    """An error of anybody's as a peer is told of it."""
    return error if isinstance(error, CheckpointHealError) else Misuse(f"{type(error).__name__}: {error}")


class PeerBroke(CheckpointHealError):
    """The other side broke the protocol."""


class WorldFailed(CheckpointHealError):
    """Nobody broke a rule; it did not work out."""


class AlreadyAttached(Misuse):
    """This process, or another, already speaks for the arena."""


class NoLocalRank(Misuse):
    """Nothing tells which of its pod's seats a trainer sits in, or there is no such seat."""


class UnsupportedLeaf(Misuse):
    """A leaf that cannot cross."""

    REMEDY = "convert it, leave it out, or say what it is made of by checkpointheal.register_class()"

    def __init__(self, path: str, kind: str, remedy: str = REMEDY) -> None:
        super().__init__(f"{path or 'the state itself'} is a {kind}, which cannot cross: {remedy}")
        self.path, self.kind, self.remedy = path, kind, remedy


class UnknownClass(Misuse):
    """The offered state holds an object whose class is not known here. Names are never imported."""

    def __init__(self, path: str, name: str) -> None:
        short = name.rpartition(".")[2]
        super().__init__(
            f"{path or 'the state itself'} is a {name}, which is not known here: call "
            f"checkpointheal.register_class({short}) before, or receive into a state that holds one"
        )
        self.path, self.name = path, name


class ClassDiffers(UnknownClass):
    """The class of that name cannot be made here of what was offered: it is another version of the donor's."""

    def __init__(self, path: str, name: str, why: BaseException) -> None:
        short = name.rpartition(".")[2]
        Misuse.__init__(
            self,
            f"{path or 'the state itself'} is a {name}, which cannot be made here of what was offered "
            f"({str(why)[:200]}): run the program with the same {short} on both sides",
        )
        self.path, self.name = path, name


class SchemaDiffers(Misuse):
    """Target and offered state do not fit."""

    SHOWN = 8

    def __init__(self, differences: Sequence[Difference], remedy: str = "") -> None:
        shown = "; ".join(str(difference) for difference in differences[: self.SHOWN])
        more = f"; and {len(differences) - self.SHOWN} more" if len(differences) > self.SHOWN else ""
        helps = f": {remedy}" if remedy else ""
        super().__init__(f"the offered state does not fit its target: {shown}{more}{helps}")
        self.differences = tuple(differences)


class PrivateStateTooLarge(Misuse):
    """Private state over its limit."""


class RestoreDisagrees(Misuse):
    """The ranks of one job did not restore the same thing."""


class AppliedStateDiffers(Misuse):
    """The loaded objects do not hold the bytes that they were given."""


class TargetInvalid(Misuse):
    """A live state is used that a broken transfer or restore left half filled. One that completes heals it."""


class NotRestored(Misuse):
    """Commit before restore."""


class WatchdogKills(Misuse):
    """NCCL is told to end the process, or to abort by itself, and survivors are to go on."""


class GroupElsewhere(Misuse):
    """A process group that was made without us, where ours must be the default one."""


class BucketsRebuilt(Misuse):
    """A DDP that gives its gradients other buckets after its first step; a member that comes back has the first."""


class HookCounts(Misuse):
    """A DDP whose hook does what it does by a count of its own; a member that comes back counts from 0."""


class TorchTooOld(Misuse):
    """This torch lacks what a survivor needs."""


class BadFrame(PeerBroke):
    """Bytes that are no frame of ours, or break a limit."""


class UnknownVersion(PeerBroke):
    """A version that this build does not speak."""


class BytesDiffer(PeerBroke):
    """A chunk or a state whose digest is not the promised one."""


class DonorsDisagree(PeerBroke):
    """Several donors hold different states, and no majority the same."""


class UntrustedPeer(PeerBroke):
    """The other end of the connection is not who it should be."""


class PeerRefused(PeerBroke):
    """The peer said no, and why."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.refusal = reason


class PeerLost(WorldFailed):
    """The connection to the peer is gone."""


class Overdue(WorldFailed):
    """Nothing came within the time allowed."""


class Abandoned(WorldFailed):
    """This attempt was called off."""


class ArenaDoesNotFit(WorldFailed):
    """The arena is smaller than the state, or its medium is full.

    Where it is known: `arena_bytes` of an arena that would do, or `memory_bytes` that the agent lacks besides.
    """

    def __init__(self, message: str, *, arena_bytes: int | None = None, memory_bytes: int | None = None) -> None:
        super().__init__(message)
        self.arena_bytes, self.memory_bytes = arena_bytes, memory_bytes


class NoRoomForDrill(WorldFailed):
    """A drill would need memory that is not to spare. A heal is not affected: its memory was reserved."""


class Overtaken(WorldFailed):
    """Training wrote over the state that a drill was reading: nothing is pinned for a drill."""


class NoArena(WorldFailed):
    """No arena lies in the directory."""


class SlotDamaged(WorldFailed):
    """A slot whose bytes are not what its seal says."""


class NotSealed(SlotDamaged):
    """It has no seal: empty, or being written. Nothing is wrong with it, but there is nothing to read."""


class AgentGone(WorldFailed):
    """No agent answers."""


class EpochOver(WorldFailed):
    """A member was lost, so what this epoch computes is worth nothing any more. `with epoch:` takes it for its own."""


class RendezvousFailed(WorldFailed):
    """The members of an epoch did not meet."""


class PeersDone(WorldFailed):
    """The others have finished: nobody is left for a collective."""
