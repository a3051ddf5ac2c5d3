"""What did the demo find, in one model: for the table, for `--json`, and for the exit status?"""

from checkpointheal.contract.base import Frozen
from checkpointheal_operator.demo.plain import Restarted
from checkpointheal_operator.demo.proof import Verdict
from checkpointheal_operator.demo.scenes import HealRow, SceneResult


class Result(Frozen):
    """Everything that was measured and found."""

    identical: bool
    heals: tuple[HealRow, ...]
    heal_seconds: tuple[float, ...]
    restart_seconds: float
    steps_lost: int
    restart_steps_lost: int
    different: tuple[str, ...]
    missed: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether everything was healed as expected and nothing differs."""
        return self.identical and bool(self.heals) and not self.missed


def conclude(scenes: tuple[SceneResult, ...], verdict: Verdict, restarted: Restarted, steps_lost: int) -> Result:
    """Put it together."""
    return Result(
        identical=verdict.identical,
        heals=tuple(row for scene in scenes for row in scene.heals),
        heal_seconds=tuple(round(scene.seconds, 3) for scene in scenes),
        restart_seconds=round(restarted.seconds, 3),
        steps_lost=steps_lost,
        restart_steps_lost=restarted.steps_lost,
        different=verdict.different,
        missed=tuple(f"{scene.name}: {what}" for scene in scenes for what in scene.missed),
    )
