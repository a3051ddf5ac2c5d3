"""What FSDP2 has cut is filled where it lies, whatever the optimizer keeps beside its tensors."""

import pytest
import torch
from torch import nn

from checkpointheal.errors import SchemaDiffers
from checkpointheal.integrations.fsdp2 import Shards
from checkpointheal.manifest import describe, write_out
from checkpointheal.trainer.apply import apply
from checkpointheal.trainer.forming import Given
from checkpointheal.trainer.parts import declare


class Counts(torch.optim.SGD):
    """Counts its steps in a whole number, beside a tensor in a list."""

    def step(self, closure=None):
        for state in (self.state[each] for group in self.param_groups for each in group["params"]):
            state["step"] = state.get("step", 0) + 1
            state.setdefault("sums", [torch.zeros(2)])[0].add_(1)
        return super().step(closure)


def trained(optimizer: torch.optim.Optimizer, model: nn.Module) -> Shards:
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    shards = Shards()
    shards.fill(model, optimizer)
    return shards


def held(shards: Shards) -> Shards:
    """Another one, which waits for its objects with what this one holds."""
    described = describe(declare({"shards": shards}, {}).replicated_state())
    data = bytearray(described.schema.data_bytes)
    write_out(described, data)
    later = Shards()
    apply(declare({"shards": later}, {}), Given(described.schema, described.values, memoryview(data)))
    return later


def test_a_learning_rate_that_is_a_tensor_stays_the_live_one() -> None:
    def adam(model: nn.Module, rate: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.parameters(), torch.tensor(rate), foreach=False)

    model, fresh = nn.Linear(2, 2), nn.Linear(2, 2)
    optimizer = adam(fresh, 0.1)
    live = optimizer.param_groups[0]["lr"]
    held(trained(adam(model, 0.2), model)).fill(fresh, optimizer)
    assert optimizer.param_groups[0]["lr"] is live
    assert live == torch.tensor(0.2)
    assert torch.equal(fresh.weight, model.weight)


def test_what_an_optimizer_keeps_beside_its_tensors_comes_back() -> None:
    model, fresh = nn.Linear(2, 2), nn.Linear(2, 2)
    optimizer = Counts(fresh.parameters(), 0.1)
    used = Counts(model.parameters(), 0.2)
    shards = trained(used, model)
    used.step()
    held(shards).fill(fresh, optimizer)
    assert [each["step"] for each in optimizer.state.values()] == [2, 2]
    assert [each["sums"][0].tolist() for each in optimizer.state.values()] == [[2.0, 2.0]] * 2


def test_a_model_of_another_form_is_named_and_not_touched() -> None:
    model, fresh = nn.Linear(2, 2), nn.Linear(2, 3)
    before = fresh.weight.clone()
    with pytest.raises(SchemaDiffers, match=r"model\.weight: shape is \(2, 2\), here \(3, 2\)"):
        held(trained(torch.optim.SGD(model.parameters()), model)).fill(fresh, torch.optim.SGD(fresh.parameters()))
    assert torch.equal(fresh.weight, before)


class Counting(nn.Linear):
    """Its state has a plain value besides its tensors."""

    calls = 0

    def forward(self, given):
        self.calls += 1
        return super().forward(given)

    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = state["calls"]


def test_the_plain_values_of_a_model_come_back() -> None:
    model, fresh = nn.Sequential(Counting(2, 2)), nn.Sequential(Counting(2, 2))
    held(trained(torch.optim.SGD(model.parameters()), model)).fill(fresh, torch.optim.SGD(fresh.parameters()))
    assert fresh[0].calls == 1
    assert torch.equal(fresh[0].weight, model[0].weight)
