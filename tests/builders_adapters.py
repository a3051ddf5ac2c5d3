"""Programs of `tests/integrations/programs`: healed and harmed, or plain, and what they were seen to do."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkpointheal_operator.local.places import free_port

PROGRAMS = Path(__file__).parent / "integrations" / "programs"
PATIENCE = 420.0
QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


@dataclass(frozen=True)
class Kill:
    """SIGKILL to a rank at a point of its program, once it has completed so many updates; or to its pod, memory too."""

    rank: int
    point: str
    step: int
    pod: bool = False


@dataclass(frozen=True)
class Seen:
    """What a job left behind."""

    folder: Path
    ranks: int

    def ends(self, *but: str) -> list[dict[str, str]]:
        """Fingerprints of every rank's parts at the end, but for these."""
        told = [json.loads((self.folder / f"end-{rank}.json").read_text()) for rank in range(self.ranks)]
        return [{name: each for name, each in parts.items() if name not in but} for parts in told]

    def told(self, rank: int) -> list[dict[str, Any]]:
        """Its lines, in order."""
        return [json.loads(line) for line in (self.folder / f"told-{rank}.jsonl").read_text().splitlines()]

    def consumed(self) -> list[dict[int, list[str]]]:
        """Of every rank, the batches of each update, as it was computed last."""
        return [_by_step(self.told(rank)) for rank in range(self.ranks)]

    def killed(self) -> int:
        """How many kills came to pass."""
        return len(list(self.folder.glob("killed-*")))

    def log(self) -> str:
        """What trainers and operator wrote."""
        return "\n".join(path.read_text() for path in sorted(self.folder.rglob("*.log")))

    def begun(self) -> list[tuple[int | None, set[str]]]:
        """The step that each epoch began with, and from where its members had it."""
        lines = re.findall(r"BeginEpoch \d+ (no step|step=\d+) (.*) \(", (self.folder / "local.out").read_text())
        return [
            (None if step == "no step" else int(step[5:]), {each.split(":")[1] for each in members.split()})
            for step, members in lines
        ]


def _by_step(lines: list[dict[str, Any]]) -> dict[int, list[str]]:
    found: dict[int, tuple[tuple[str, int], list[str]]] = {}
    for line in lines:
        now = (line["life"], line["turn"])
        before, batches = found.get(line["step"], (now, []))
        found[line["step"]] = (now, [*(batches if before == now else []), line["batch"]])
    return {step: batches for step, (_, batches) in found.items()}


TORCHRUN = (
    "export PLACE=$RANK TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1; "
    "exec python -m torch.distributed.run --nnodes $WORLD_SIZE --nproc-per-node 1 "
    "--max-restarts 100 --rdzv-backend c10d --rdzv-endpoint $MASTER_ADDR:$MASTER_PORT {said} {program}"
)


def by_torchrun(program: str, said: str = "--local-addr 127.0.0.1") -> tuple[str, ...]:
    """How one pod starts the program, by a torchrun of its own, to which this is said."""
    return ("sh", "-c", TORCHRUN.format(program=PROGRAMS / program, said=said))


def healed(program: str | tuple[str, ...], folder: Path, kills: Sequence[Kill], ranks: int = 3, *options: str) -> Seen:
    """The program under `checkpointheal local`, with these kills. It must end well."""
    start = ("python", str(PROGRAMS / program)) if isinstance(program, str) else program
    (folder / "tmp").mkdir(parents=True)
    command = [sys.executable, "-m", "checkpointheal.cli", "local", "--plain", "--replicas", str(ranks)]
    told = {
        "WITNESS": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "WITNESS_KILLS": json.dumps([vars(kill) for kill in kills]),
    }
    with (folder / "local.out").open("w") as out:
        ended = subprocess.run(
            [*command, "--dir", str(folder / "logs"), *options, "--", *start],
            env={**os.environ, **QUIET, **told},
            cwd=folder,
            stdout=out,
            stderr=out,
            timeout=PATIENCE,
            check=False,
        )
    seen = Seen(folder, ranks)
    assert ended.returncode == 0, ((folder / "local.out").read_text() + seen.log())[-6000:]
    return seen


def plain(program: str, folder: Path, ranks: int = 3, **more: str) -> Seen:
    """The same without any of ours, undisturbed. `more`: variables of its environment."""
    folder.mkdir()
    place = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "LOCAL_RANK": "0"}
    told = {"WITNESS": str(folder), "PLAIN": "yes", "LOCAL_WORLD_SIZE": "1", **more}
    logs = [(folder / f"{rank}.log").open("w") for rank in range(ranks)]
    trainers = [
        subprocess.Popen(
            [sys.executable, str(PROGRAMS / program)],
            env={**os.environ, **QUIET, **place, **told, "RANK": str(rank)},
            cwd=folder,
            stdout=log,
            stderr=log,
        )
        for rank, log in enumerate(logs)
    ]
    try:
        codes = [trainer.wait(PATIENCE) for trainer in trainers]
    finally:
        for trainer, log in zip(trainers, logs, strict=True):
            trainer.kill()
            log.close()
    seen = Seen(folder, ranks)
    assert codes == [0] * ranks, seen.log()[-6000:]
    return seen


def assert_healed(harmed: Seen, undisturbed: Seen, kills: Sequence[Kill]) -> None:
    """All kills came to pass, memory answered each, and every rank ended with the same bits and the same samples."""
    assert harmed.killed() == len(kills)
    first, *others = harmed.begun()
    assert first == (None, {"Fresh"})
    assert len(others) == len(kills)
    assert all(
        step is not None and kill.step - 1 <= step <= kill.step for (step, _), kill in zip(others, kills, strict=True)
    )
    assert all("Peer" in rungs for (_, rungs), kill in zip(others, kills, strict=True) if kill.pod)
    assert harmed.consumed() == undisturbed.consumed()
    assert harmed.ends() == undisturbed.ends()
