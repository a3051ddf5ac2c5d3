"""How many members can this machine bear?

Each is an agent, a trainer, and often a warm process beside it. A number to stop a slip of the keyboard, not to plan
by. Must not know what they train.
"""

import os
from pathlib import Path
from typing import NamedTuple

MEMBERS_OF_A_CORE = 16
MEMBER_BYTES = 256 << 20
ALWAYS = 8
"""So few are never refused."""
_MEMORY = Path("/proc/meminfo")


class Machine(NamedTuple):
    """What it has for them."""

    cores: int
    memory: int
    """Bytes to spare."""

    @classmethod
    def here(cls) -> "Machine":
        """This one."""
        return cls(len(os.sched_getaffinity(0)), _to_spare(_MEMORY.read_text()))

    @property
    def bears(self) -> int:
        """So many members."""
        return max(ALWAYS, min(self.cores * MEMBERS_OF_A_CORE, self.memory // MEMBER_BYTES))


def too_many(members: int, machine: Machine) -> str | None:
    """Why they are not started; None: they are."""
    if members <= machine.bears:
        return None
    return (
        f"{members} members are more than this machine can bear: {machine.bears}, by {machine.cores} cores and "
        f"{machine.memory / 1e9:.1f} GB of memory to spare; ask for fewer, or say --crowded if you mean it"
    )


def _to_spare(told: str) -> int:
    """As the kernel tells it, in kB."""
    found = [line.split()[1] for line in told.splitlines() if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024
