"""The loop of the README, run as it stands there: after a heal it trains on the very batch that was next."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torchdata", reason="torchdata is not installed here: make integrations")

import torch
import torch.distributed as dist
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import StatefulDistributedSampler

from builders_trainer import FakeAgent
from checkpointheal.trainer import attaching

pytestmark = pytest.mark.filterwarnings("ignore")
README = (Path(__file__).parents[2] / "README.md").read_text()
LOOP = next(
    block for block in re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL) if "attach" in block
)
STEPS, LOST = 8, 3


class PowerCut(Exception):
    """The process ends here."""


class Script:
    """What stands around the loop in a user's script, and what was seen in it."""

    def __init__(self, steps: int = STEPS, lost: int = STEPS) -> None:
        model = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        points = torch.arange(32.0)
        self.loader = StatefulDataLoader(
            points,
            batch_size=4,
            sampler=StatefulDistributedSampler(points, num_replicas=1, rank=0),
            num_workers=2,
            generator=torch.Generator().manual_seed(1),
        )
        self.scope: dict[str, Any] = {
            "dist": dist,
            "model": model,
            "optimizer": optimizer,
            "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1),
            "loader": self.loader,
            "steps": steps,
            "train_step": self._train,
            "evaluate_and_save": lambda _: self.evaluated.append(len(self.trained_on)),
        }
        self.trained_on: list[Any] = []
        self.evaluated: list[int] = []
        self._lost, self._batches = lost, None

    def run(self) -> None:
        try:
            exec(LOOP, self.scope)
        finally:
            self.scope["heal"].done()
            self.scope["heal"]._line.end()
            attaching._attached.clear()
            dist.destroy_process_group()
            # left to the collector, their workers hold any later test up: it waits 5 s for each
            self._batches = self.loader._iterator = None

    def _train(self, _: Any) -> None:
        if len(self.trained_on) == self._lost:
            raise PowerCut
        self._batches = self._batches or iter(self.loader)
        self.trained_on.append(next(self._batches).tolist())


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    surroundings = {"ARENA": str(tmp_path), "JOB": "job", "MEMBER": "1/0"}
    for name, value in surroundings.items():
        monkeypatch.setenv(f"CHECKPOINTHEAL_{name}", value)
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    agent = FakeAgent(tmp_path)
    yield agent
    agent.vanish()


def test_the_loop_of_the_readme_goes_on_with_the_batch_that_was_next(agent: FakeAgent) -> None:
    lost, back = Script(lost=LOST), Script()
    with pytest.raises(PowerCut):
        lost.run()
    agent.names(agent.slot_of(LOST))
    back.run()
    assert lost.trained_on + back.trained_on == list(map(torch.Tensor.tolist, Script().loader))
    assert (lost.evaluated, back.evaluated) == ([0], [])
