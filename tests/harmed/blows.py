"""What is done to a job, and when? Drawn from a seed before it begins. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_WAIT = 0.8
"""Seconds from the job's training again to the next blow: some updates."""
WITHIN_A_HEAL = 2.0
"""Seconds from a blow to the one that follows while the job is healed of the first."""
STEPS_A_BLOW = 16
"""Updates that a job may make from one blow to the next."""


@dataclass(frozen=True)
class Blow:
    """SIGKILL to one rank's trainer, at once or at a named point; or the end of its pod, memory and agent too.

    `wait`: seconds before, from when every rank trains again; or, `amid`, from the blow before.
    """

    rank: int
    wait: float = 0.0
    point: str = ""
    pod: bool = False
    amid: bool = False

    def __str__(self) -> str:
        what = f"rank {self.rank}'s pod" if self.pod else f"rank {self.rank}"
        return f"{what} at {self.point or 'a random instant'}{', amid a heal' if self.amid else ''}"


def blows(kills: int, points: Sequence[str], world: int, dice: random.Random) -> list[Blow]:
    """So many at random instants, and as many at the points, each in its turn; by turns."""
    drawn: list[Blow] = []
    for number in range(kills):
        drawn.append(_at_random(number, world, dice))
        if points:
            drawn.append(Blow(dice.randrange(world), point=points[number % len(points)]))
    return drawn


def steps_for(blows: Sequence[Blow]) -> int:
    """How long a training must be for all of them to come to pass."""
    return STEPS_A_BLOW * (len(blows) + 1)


def _at_random(number: int, world: int, dice: random.Random) -> Blow:
    """Every third takes the pod; one in four, but no pod, falls into the heal of the one before.

    Two pods that go at once may be all that held a private part: then a fresh start is right, and nothing is shown.
    """
    rank, pod, amid = dice.randrange(world), number % 3 == 1, number > 0 and dice.random() < 0.25
    if amid and not pod:
        return Blow(rank, dice.uniform(0, WITHIN_A_HEAL), amid=True)
    return Blow(rank, dice.uniform(0, LONGEST_WAIT), pod=pod)
