"""The readiness probes of the page on roll-outs hold once a pod has a state that it could give, and no sooner."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from builders_trainer import Training
from checkpointheal.contract.seats import seat_folder
from checkpointheal.contract.trainer import Restored

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"^ *command: (\[.*\])$", re.MULTILINE)
SEALED, ALL_SEALED, COMMITTED, ALL_COMMITTED = map(
    json.loads, COMMAND.findall((ROOT / "docs" / "rollouts.md").read_text())
)


def holds(probe: list[str], arena: Path) -> bool:
    environment = {**os.environ, "CHECKPOINTHEAL_ARENA": str(arena)}
    return subprocess.run(probe, env=environment, capture_output=True, check=False).returncode == 0


def lay(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_a_pod_is_ready_once_a_generation_is_sealed(attach, agent):
    heal = attach(Training())
    heal.restore()
    assert not holds(SEALED, agent.directory)
    heal.commit(1)
    assert holds(SEALED, agent.directory)


@pytest.mark.usefixtures("world_of_one")
@pytest.mark.parametrize("brought", [0, 1], ids=["a first start", "a heal that brought its part"])
def test_where_nothing_is_sealed_a_pod_is_ready_once_it_has_committed(attach, agent, brought):
    agent.answer = Restored(request=0, epoch=1, step=None, rung="own", slot=None, rendezvous=True, members=1)
    training = Training()
    heal = attach(training, on_demand=True)
    next(heal.epochs())
    if brought:
        agent.arena.write_private(0, b"stream")
    for step in (1, 2, 3):
        assert holds(COMMITTED, agent.directory) == (step - 1 + brought > 1), f"before commit {step}"
        training.step()
        heal.commit(step)
    assert holds(COMMITTED, agent.directory)
    assert not holds(SEALED, agent.directory)


@pytest.mark.parametrize(
    ("probe", "names"),
    [(ALL_SEALED, ("slot-0.seal.json",)), (ALL_COMMITTED, ("private-1.bin", "private-2.bin"))],
    ids=["sealed", "committed"],
)
def test_a_pod_of_several_local_ranks_is_ready_once_all_of_them_are(tmp_path, probe, names):
    assert not holds(probe, tmp_path), "there is none yet"
    first, second = (seat_folder(tmp_path, rank, 2) for rank in (0, 1))
    lay(first, *names)
    lay(second, "slot-0.safetensors", *names[1:])
    assert not holds(probe, tmp_path)
    lay(second, *names)
    assert holds(probe, tmp_path)
    assert not holds(SEALED, tmp_path)


@pytest.mark.parametrize("name", ["statefulset-ddp", "statefulset-local-ranks"])
def test_the_examples_ask_the_same(tmp_path, name):
    found = yaml.safe_load_all((ROOT / "examples" / f"{name}.yaml").read_text())
    (sets,) = (each["spec"]["template"]["spec"] for each in found if each["kind"] == "StatefulSet")
    probe = sets["containers"][0]["readinessProbe"]["exec"]["command"]
    several = name == "statefulset-local-ranks"
    assert not holds(probe, tmp_path)
    for rank in range(1 + several):
        lay(seat_folder(tmp_path, rank, 1 + several), "slot-0.seal.json")
    assert holds(probe, tmp_path)
