"""`python -m chaos_kind`: one fault after the other befalls a job of pods on kind, until it is left in peace and ends.

Its weights must end as those of a job that nothing befell, no agent may have ended that nobody ended, and nothing may
be left over. Exit status 0: so it was. 1: it was not; the seed tells how to have the same faults again.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
import traceback
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from bad_cluster import BadCluster, a_job, not_healed
from builders_cluster import Refused, found, kubectl, plain_run
from cluster_blows import ALL
from drawn import Fault, befall, drawn

A_WHOLE_TRAINING = 3600.0
"""Seconds for all its steps, at once."""
BLOWS = {each.__name__: each for each in ALL}


class Log:
    """For whoever watches, and one object a line for whoever reads it later."""

    def __init__(self, file: TextIO | None) -> None:
        self._file, self._began = file, time.monotonic()

    def say(self, text: str, **facts: Any) -> None:
        """It, with its instant."""
        seconds = time.monotonic() - self._began
        print(f"{seconds:7.1f} s  {text}", flush=True)
        if self._file is not None:
            facts = {"at": datetime.now(UTC).isoformat(), "seconds": round(seconds, 1), "text": text} | facts
            print(json.dumps(facts), file=self._file, flush=True)


class Chaos:
    """So many faults, drawn by the seed."""

    def __init__(self, hour: BadCluster, log: Log) -> None:
        self._hour, self._log = hour, log
        self.done: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()

    async def strike(self, fault: Fault) -> None:
        """A fault for which there is nobody now is told, and the next one comes."""
        self._log.say(str(fault), fault=fault.number, name=fault.name, rank=fault.rank)
        blow = BLOWS[fault.name]
        try:
            hit = await asyncio.to_thread(blow, self._hour, random.Random(fault.seed), fault.rank)
        except (Refused, subprocess.TimeoutExpired) as error:
            self.missed[fault.name] += 1
            self._log.say(f"   {fault.number} missed: {error}", fault=fault.number, missed=str(error))
        else:
            self.done[fault.name] += 1
            self._log.say(f"   {fault.number} hit {hit}", fault=fault.number, hit=hit)

    async def rest(self) -> None:
        """Everybody trains on."""
        began = time.monotonic()
        await asyncio.to_thread(self._hour.trains_on)
        step, waited = max(map(self._hour.step, range(self._hour.world))), time.monotonic() - began
        epoch = await asyncio.to_thread(lambda: self._hour.job.policy_status()["epoch"])
        why = f"epoch {epoch['number']}: {epoch.get('beginReason', '')}: {epoch.get('beginMessage', '')}"
        self._log.say(f"all train, step {step}, after {waited:.0f} s; {why}", step=step, waited=round(waited, 1))


def main() -> int:
    """Say the seed first: it may be all that is left of a run that was ended."""
    parser = argparse.ArgumentParser(prog="python -m chaos_kind", description=__doc__)
    parser.add_argument("--faults", type=int, default=30, help="so many (30)")
    parser.add_argument("--seed", type=int, default=None, help="the time of day")
    parser.add_argument("--out", type=Path, default=None, help="a file for one JSON object for each line of the log")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    print(f"seed {seed}: make chaos SEED={seed} FAULTS={options.faults} draws the same faults", flush=True)
    file = options.out.open("w") if options.out else None
    log = Log(file)
    try:
        told = _story(seed, options.faults, log)
    except Exception as error:  # whatever it is: a promise is broken
        traceback.print_exc()
        log.say(f"BROKEN, seed {seed}; the job is left as it is", broken=str(error))
        return 1
    for line in told:
        log.say(line)
    return 0


def _story(seed: int, faults: int, log: Log) -> list[str]:
    namespace = f"chaos-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", namespace)
    hour = BadCluster(job := a_job(namespace, faults).start())
    job.until_step(5)
    log.say(f"the job in {namespace} trains", seed=seed, faults=faults, steps=job.steps)
    chaos = Chaos(hour, log)
    asyncio.run(befall(drawn(seed, faults, [each.__name__ for each in ALL], hour.world), chaos.strike, chaos.rest))
    assert max(map(hour.step, range(hour.world))) < job.steps, "the training ended before the last fault"
    wrong = _ends_like_a_plain_run(hour, log) + hour.comes_to_rest()
    memory = not_healed(job)
    counts = [f"{len(job.heals)} heals; not from memory, each by name: {len(memory)}", *memory]
    wrong += hour.left_over([each["metadata"]["name"] for each in found("nodes", "default")])
    assert not wrong, "\n".join(wrong)
    return [
        *(f"{count:>6} {name}, missed {chaos.missed[name]}" for name, count in chaos.done.most_common()),
        "weights, optimizer and random streams are those of an undisturbed run, bit for bit; nothing is left over",
        f"made without an agent while the webhook could not be asked, and deleted: {len(hour.slipped)}",
        *counts,
    ]


def _ends_like_a_plain_run(hour: BadCluster, log: Log) -> list[str]:
    ours = hour.job.fingerprints(A_WHOLE_TRAINING)
    log.say("every rank is through; the undisturbed run begins")
    theirs = plain_run(hour.job.namespace, "plain", hour.job, A_WHOLE_TRAINING)
    return [f"rank {rank} ends with other bits" for rank in ours if ours[rank] != theirs[rank]]


if __name__ == "__main__":
    sys.exit(main())
