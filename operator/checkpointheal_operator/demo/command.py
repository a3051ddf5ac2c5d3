"""`checkpointheal demo`: train, kill, heal, prove.

Composition only: the plain job as the witness, the healed job with its three scenes, the restart from a file for
comparison, and the verdict.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from checkpointheal_operator.core.decisions import Assign, Decision, EndEpoch, Nothing, Wait
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.demo.plain import Launch, recover_from_checkpoint, train
from checkpointheal_operator.demo.progress import Progress
from checkpointheal_operator.demo.proof import compare
from checkpointheal_operator.demo.result import Result, conclude
from checkpointheal_operator.demo.scenes import SCENES, SceneResult, Stage, play
from checkpointheal_operator.demo.screen import Screen, heal_table, verdict_lines
from checkpointheal_operator.local.arguments import at_least
from checkpointheal_operator.local.job import Hooks, LocalJob
from checkpointheal_operator.local.places import free_port
from checkpointheal_operator.local.settings import LocalSettings

RANKS = 3
REFERENCE, HEALED, RESTART = "reference", "healed", "restart"
"""Folders of the three runs."""
SCRIPT = "checkpointheal.demo.train"
CHECKPOINT_EVERY = 8
STEPS_AT_LEAST = 16
BARS_EVERY = 0.1
QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}

T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 only if everything was healed as expected and ended identical."""
    asked = _parser().parse_args(argv)
    os.environ.update(QUIET)
    with tempfile.TemporaryDirectory(prefix="checkpointheal-demo-") as temporary:
        folder = _kept(asked.keep) if asked.keep else Path(temporary)
        console = Console(highlight=False)
        result = asyncio.run(Demo(folder, asked.steps, console).run())
    console.print(heal_table(result))
    for line in verdict_lines(result):
        console.print(line, soft_wrap=True)
    if asked.json:
        sys.stdout.write(result.model_dump_json() + "\n")
    return 0 if result.holds else 1


class Demo:
    """The three runs, one after the other, in one folder."""

    def __init__(self, folder: Path, steps: int, console: Console) -> None:
        self._folder, self._steps = folder, steps
        self._screen = Screen(console, RANKS, steps)
        self._arguments = ("--steps", str(steps))

    async def run(self) -> Result:
        """Everything. Raises plain.Failed where there is nothing to compare with."""
        with self._screen as screen:
            screen.begin(f"1  {RANKS} replicas of a small GPT train {self._steps} steps; nothing happens to them")
            reference = self._launch(REFERENCE)
            await self._watched(train(reference), reference.progress)
            screen.begin("2  the same training, healed, in a bad hour")
            scenes, progress = await self._heal()
            screen.begin("3  the usual way: one is killed, all start again from the last torch.save checkpoint")
            launch = self._launch(RESTART)
            recovering = recover_from_checkpoint(launch, every=CHECKPOINT_EVERY, kill_at=2 * CHECKPOINT_EVERY - 4)
            restarted = await self._watched(recovering, launch.progress)
        verdict = compare(reference.folder, self._folder / HEALED, RANKS)
        return conclude(scenes, verdict, restarted, progress.computed_again())

    async def _heal(self) -> tuple[tuple[SceneResult, ...], Progress]:
        folder = self._folder / HEALED
        folder.mkdir()
        progress = Progress(folder, RANKS)
        settings = LocalSettings(
            job=f"demo-{os.getpid()}",
            command=(sys.executable, "-m", SCRIPT, "--out", str(folder), *self._arguments),
            policy=Policy(replicas=RANKS),
            logs=folder / "logs",
        )
        async with LocalJob(settings, Hooks(told=self._told, noted=self._screen.say), clock=time.time) as job:
            scenes: list[SceneResult] = []
            playing = asyncio.create_task(self._play(Stage(job, progress, self._screen.say), scenes))
            outcome = await self._watched(job.wait(), progress)
            playing.cancel()
        if outcome.status:
            self._screen.say(f"the job failed: {outcome.message}")
        return tuple(scenes), progress

    async def _play(self, stage: Stage, played: list[SceneResult]) -> None:
        for number, scene in enumerate(SCENES):
            result = await play(stage, scene, 4 + number * (self._steps - 6) // len(SCENES))
            self._screen.scene(result)
            played.append(result)

    async def _watched(self, work: Coroutine[None, None, T], progress: Progress) -> T:
        """Do the work while the bars move; raises what it raises."""
        task = asyncio.create_task(work)
        while not task.done():
            await asyncio.wait({task}, timeout=BARS_EVERY)
            progress.look()
            self._screen.show_steps([progress.step(rank) for rank in range(RANKS)])
        return task.result()

    def _launch(self, name: str) -> Launch:
        folder = self._folder / name
        folder.mkdir()
        return Launch(folder, RANKS, free_port(), self._arguments)

    def _told(self, decision: Decision, view: JobView) -> None:
        """What the operator decided, in its own words; for an assignment also why everybody else was refused."""
        if isinstance(decision, Wait | Nothing):
            return
        why = f": {decision.message}" if isinstance(decision, EndEpoch) else ""
        self._screen.say(f"{decision}{why}")
        if isinstance(decision, Assign):
            for refusal in decision.refusals:
                self._screen.say(f"    not {refusal.pod or refusal.member}: {refusal.reason}, {refusal.message}")
        del view


def _kept(folder: Path) -> Path:
    """The folder, made where it is missing; an end with a sentence where it cannot be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _parser().error(f"--keep {folder}: {error.strerror}")
    if any((folder / name).exists() for name in (REFERENCE, HEALED, RESTART)):
        _parser().error(f"--keep {folder} holds an earlier demo: name another folder, or remove it")
    return folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="checkpointheal demo",
        description="Train three replicas of a small GPT, kill them in three ways, and prove that nothing was lost.",
    )
    steps = at_least(STEPS_AT_LEAST, f"at least {STEPS_AT_LEAST}, for three scenes and a checkpoint")
    parser.add_argument("--steps", type=steps, default=24, metavar="N", help="optimizer updates (%(default)s)")
    parser.add_argument("--json", action="store_true", help="the result once more, as one JSON object on the last line")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep progress, logs and fingerprints here")
    return parser
