"""What is done to the job, and what should come of it?

Three scenes, each one a thing that clusters do. A scene waits for a step, harms the job, and waits until every rank is
past that step again. What it expects is said beforehand and checked afterwards. Must not know the screen.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from checkpointheal.contract.base import Frozen
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.report import TransferFacts
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.phases import SeenHeal, phases
from checkpointheal_operator.core.reasons import Cause, Rung
from checkpointheal_operator.core.status import transfer_of
from checkpointheal_operator.demo.progress import Progress
from checkpointheal_operator.local.job import LocalJob
from checkpointheal_operator.local.summary import donor_of

LOOK_EVERY = 0.01
CAPPED_BYTES_PER_SECOND = 64 << 20
"""Only while a donor is to be killed: at memory speed, nobody could hit a transfer in its middle."""


class Harm(NamedTuple):
    """What a scene has done."""

    at: float
    """Seconds of the wall clock, which is the job's and the trainers' too."""
    recipients: tuple[MemberId, ...]


class HealRow(Frozen):
    """One heal, for the table and for `--json`. Phases in seconds."""

    recipient: str
    donor: str
    cause: str
    rung: str
    step: int | None
    bytes: int
    attempt: int
    phases: dict[str, float]


class SceneResult(NamedTuple):
    """One scene, played."""

    name: str
    step: int
    seconds: float
    """From the kill until every rank had completed one step more than before it."""
    heals: tuple[HealRow, ...]
    missed: tuple[str, ...]
    """Expectations that did not come true."""


class Stage(NamedTuple):
    """Where a scene is played."""

    job: LocalJob
    progress: Progress
    say: Callable[[str], None]

    async def until(self, done: Callable[[], object]) -> None:
        """Look until `done()`."""
        while not done():
            self.progress.look()
            await asyncio.sleep(LOOK_EVERY)


class Scene(NamedTuple):
    """One thing that clusters do. `expects` finds what is wrong with the heals that came of it."""

    name: str
    act: Callable[[Stage], Awaitable[Harm]]
    expects: Callable[[tuple[SeenHeal, ...]], Iterator[str]]


async def play(stage: Stage, scene: Scene, at_step: int) -> SceneResult:
    """Wait for the step, act, wait until everybody is past it."""
    await stage.until(lambda: stage.progress.behind >= at_step)
    stage.say(f"step {stage.progress.behind}: {scene.name}")
    harm = await scene.act(stage)
    await stage.until(lambda: stage.progress.reached(at_step + 1, harm.at) and _healed(stage.job, harm))
    reached = stage.progress.reached(at_step + 1, harm.at) or harm.at
    seen = tuple(_of(stage.job, harm))
    rows = tuple(_row(each, harm.at) for each in seen)
    return SceneResult(scene.name, at_step, reached - harm.at, rows, tuple(scene.expects(seen)))


async def kill_trainer(stage: Stage) -> Harm:
    """`kill -9`, as the kernel does when memory runs out."""
    member = MemberId(replica=1)
    pod = stage.job.supervisor.pod(member)
    harm = Harm(time.time(), (member,))
    if pod is not None and pod.trainer_pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pod.trainer_pid, signal.SIGKILL)
    return harm


async def delete_pod(stage: Stage) -> Harm:
    """The pod goes with its agent and its arena; an empty one takes its place."""
    member = MemberId(replica=2)
    harm = Harm(time.time(), (member,))
    await stage.job.supervisor.delete(member)
    return harm


async def delete_pod_and_its_donor(stage: Stage) -> Harm:
    """As before; and while the bytes are under way, the donor's pod goes too."""
    first, policy = MemberId(replica=0), stage.job.loop.policy
    stage.job.loop.policy = policy.but(bytes_per_second=CAPPED_BYTES_PER_SECOND)
    harm = Harm(time.time(), (first,))
    await stage.job.supervisor.delete(first)
    await stage.until(lambda: _half_done(stage.job, first))
    heal = _half_done(stage.job, first)
    donor = heal.assignment.donors[0].member if heal and heal.assignment else first
    stage.say(f"the donor {donor} is deleted while its bytes are under way")
    await stage.job.supervisor.delete(donor)
    stage.job.loop.policy = policy
    return harm._replace(recipients=(first, donor))


def _expects_own_memory(heals: tuple[SeenHeal, ...]) -> Iterator[str]:
    yield from _each(heals, Rung.OWN_MEMORY, Cause.CRASHED)
    if any(each.heal.transfer is not None for each in heals):
        yield "bytes crossed although its own arena held the state"


def _expects_peer(heals: tuple[SeenHeal, ...]) -> Iterator[str]:
    yield from _each(heals, Rung.PEER, Cause.REPLACED)
    for each in heals:
        transfer = each.heal.transfer
        if transfer is None or transfer.bytes < transfer.total:
            yield f"{each.heal.recipient} was healed without a whole transfer"


def _expects_resumed(heals: tuple[SeenHeal, ...]) -> Iterator[str]:
    yield from _each(heals, Rung.PEER, Cause.REPLACED)
    first = heals[0].heal if heals else None
    if first is None or not first.failed:
        yield "no donor failed: it was killed too late"
    elif (transfer := first.transfer) is None or not 0 < transfer.bytes < transfer.total:
        yield f"the second donor of {first.recipient} did not send just the rest"
    elif first.assignment is not None and first.assignment.donors[0].pod_uid in first.failed:
        yield f"{first.recipient} was healed by the donor that was killed"


def _each(heals: tuple[SeenHeal, ...], rung: Rung, cause: Cause) -> Iterator[str]:
    if not heals:
        yield "nobody was healed"
    for each in heals:
        if (each.heal.rung, each.heal.cause) != (rung, cause):
            found = f"{each.heal.rung} after {each.heal.cause}"
            yield f"{each.heal.recipient} was healed by {found}, not {rung} after {cause}"


SCENES = (
    Scene("kill -9 of the trainer of 1/0", kill_trainer, _expects_own_memory),
    Scene("the pod of 2/0 is deleted, agent and memory included", delete_pod, _expects_peer),
    Scene("the pod of 0/0 is deleted, and its donor with it", delete_pod_and_its_donor, _expects_resumed),
)


def _half_done(job: LocalJob, member: MemberId) -> HealRecord | None:
    """The member's open heal, once bytes have begun to cross for it."""
    for heal in job.loop.view.heals:
        transfer = transfer_of(job.loop.view, heal)
        if heal.is_open and heal.recipient == member and transfer is not None and _in_the_middle(transfer):
            return heal
    return None


def _in_the_middle(transfer: TransferFacts) -> bool:
    return transfer.state == "receiving" and transfer.bytes * 4 >= transfer.total > transfer.bytes


def _of(job: LocalJob, harm: Harm) -> Iterator[SeenHeal]:
    """The last heal of each recipient since the harm, in the order in which they were harmed."""
    since = [each for each in job.heals if each.heal.opened_at >= harm.at and each.heal.healed]
    for member in harm.recipients:
        yield from [each for each in since if each.heal.recipient == member][-1:]


def _healed(job: LocalJob, harm: Harm) -> bool:
    found = list(_of(job, harm))
    return len(found) == len(harm.recipients) and all(each.rejoined_seconds is not None for each in found)


def _row(seen: SeenHeal, failed_at: float) -> HealRow:
    heal, assignment = seen.heal, seen.heal.assignment
    return HealRow(
        recipient=str(heal.recipient),
        donor=donor_of(seen) or str(heal.recipient),
        cause=str(heal.cause),
        rung=str(heal.rung),
        step=seen.step,
        bytes=heal.transfer.bytes if heal.transfer else 0,
        attempt=assignment.attempt if assignment else 0,
        phases=phases(seen, failed_at),
    )
