"""The states that training really has: optimizers, schedulers, scalers, averages, FSDP, and memory of every kind."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import lr_scheduler as schedulers
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import builders_pg as build
from checkpointheal.errors import PeerRefused

WITHOUT_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, none is here")


def a_model(seed: int = 1) -> torch.nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return model


def trained(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int = 2) -> torch.optim.Optimizer:
    for step in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 8, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        optimizer.step()
    return optimizer


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "AdamW": torch.optim.AdamW,
    "fused AdamW": lambda parameters: torch.optim.AdamW(parameters, fused=True),
    "foreach AdamW": lambda parameters: torch.optim.AdamW(parameters, foreach=True),
    "AdamW with amsgrad": lambda parameters: torch.optim.AdamW(parameters, amsgrad=True),
    "AdamW with a tensor as its rate": lambda parameters: torch.optim.AdamW(parameters, lr=torch.tensor(1e-3)),
    "AdamW of two groups": lambda parameters: torch.optim.AdamW(
        [{"params": each, "lr": 0.1 * i} for i, each in enumerate(parameters)]
    ),
    "Adam": torch.optim.Adam,
    "SGD with momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "Adafactor": torch.optim.Adafactor,
    "RMSprop": torch.optim.RMSprop,
    "Adagrad": torch.optim.Adagrad,
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_optimizers_state_crosses_and_is_filled_in_place(make: Any) -> None:
    models = a_model(1), a_model(2)
    sent, live = (trained(model, make(model.parameters()), steps) for model, steps in zip(models, (3, 1), strict=True))
    state = sent.state_dict()
    assert build.same(build.cross(state), state)
    target = live.state_dict()
    received = build.cross(state, target)
    assert build.same(received, state)
    for index, held in target["state"].items():
        for name, tensor in held.items():
            assert received["state"][index][name] is tensor
    live.load_state_dict(received)
    assert build.same(live.state_dict(), state)


def test_the_state_of_a_capturable_adamw_crosses() -> None:
    """It steps on accelerators alone; its state has its count as a tensor beside the moments."""
    model = a_model()
    optimizer = trained(model, torch.optim.AdamW(model.parameters()))
    for group in optimizer.param_groups:
        group["capturable"] = True
    state = optimizer.state_dict()
    received = build.cross(state, copy.deepcopy(state))
    assert build.same(received, state)
    assert received["param_groups"][0]["capturable"] is True


@WITHOUT_CUDA
def test_the_state_of_a_capturable_adamw_crosses_from_and_to_cuda() -> None:
    model = a_model().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), capturable=True, fused=True)
    model(torch.randn(4, 8, device="cuda")).square().mean().backward()
    optimizer.step()
    state, target = optimizer.state_dict(), copy.deepcopy(optimizer.state_dict())
    received = build.cross(state, target)
    assert received["state"][0]["exp_avg"] is target["state"][0]["exp_avg"]
    assert torch.equal(received["state"][0]["exp_avg"], state["state"][0]["exp_avg"])


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "LambdaLR": lambda each: schedulers.LambdaLR(each, lambda step: 0.9**step),
    "StepLR": lambda each: schedulers.StepLR(each, 2),
    "MultiStepLR": lambda each: schedulers.MultiStepLR(each, [1, 5]),
    "ExponentialLR": lambda each: schedulers.ExponentialLR(each, 0.9),
    "CosineAnnealingLR": lambda each: schedulers.CosineAnnealingLR(each, 10),
    "CosineAnnealingWarmRestarts": lambda each: schedulers.CosineAnnealingWarmRestarts(each, 4),
    "OneCycleLR": lambda each: schedulers.OneCycleLR(each, 0.1, total_steps=20),
    "CyclicLR": lambda each: schedulers.CyclicLR(each, 0.01, 0.1),
    "PolynomialLR": lambda each: schedulers.PolynomialLR(each, 10),
    "ReduceLROnPlateau": schedulers.ReduceLROnPlateau,
    "SequentialLR": lambda each: schedulers.SequentialLR(
        each, [schedulers.LinearLR(each), schedulers.ExponentialLR(each, 0.9)], [3]
    ),
    "ChainedScheduler": lambda each: schedulers.ChainedScheduler(
        [schedulers.ConstantLR(each), schedulers.ExponentialLR(each, 0.9)]
    ),
}


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
def test_the_state_of_a_scheduler_crosses(make: Any) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    scheduler = make(optimizer)
    optimizer.step()
    scheduler.step(*[1.0] if isinstance(scheduler, schedulers.ReduceLROnPlateau) else [])
    state = scheduler.state_dict()
    received = build.cross(state)
    assert build.same(received, state)
    assert build.same(build.cross(state, copy.deepcopy(state)), state)
    scheduler.load_state_dict(received)


def test_the_state_of_a_gradient_scaler_crosses() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    scaler.scale(torch.ones(1, requires_grad=True))
    state = scaler.state_dict()
    assert state["scale"] == 2.0**12
    received = build.cross(state)
    assert build.same(received, state)
    other = torch.amp.GradScaler("cpu")
    other.load_state_dict(received)
    assert other.state_dict() == state


def test_an_exponential_moving_average_crosses_and_is_filled_in_place() -> None:
    averages = [AveragedModel(a_model(seed), multi_avg_fn=get_ema_multi_avg_fn(0.99)) for seed in (1, 2)]
    for average in averages:
        average.update_parameters(a_model(3))
    state, target = (average.state_dict() for average in averages)
    received = build.cross(state, target)
    assert build.same(received, state)
    assert build.same(averages[1].state_dict(), state), "the live average itself was filled"


@pytest.fixture
def mesh() -> Iterator[Any]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_an_fsdp2_model_and_its_optimizer_cross_and_are_filled_in_place(mesh: Any) -> None:
    parts = []
    for seed in (1, 2):
        model = a_model(seed)
        fully_shard(model, mesh=mesh)
        parts.append((model, trained(model, torch.optim.AdamW(model.parameters()), 3 - seed)))
    states = [dict(zip(("model", "optimizer"), get_state_dict(*each), strict=True)) for each in parts]
    assert isinstance(states[0]["model"]["0.weight"], DTensor)
    received = build.cross(states[0], states[1])
    assert received["model"]["0.weight"] is states[1]["model"]["0.weight"]
    assert locals_of(received) == locals_of(states[0])
    set_state_dict(*parts[1], model_state_dict=received["model"], optim_state_dict=received["optimizer"])
    whole = [dict(zip(("model", "optimizer"), get_state_dict(*each), strict=True)) for each in parts]
    assert locals_of(whole[1]) == locals_of(whole[0])


def test_the_parameters_of_an_fsdp2_model_arrive_as_parameters_on_the_default_group(mesh: Any) -> None:
    model = a_model()
    fully_shard(model, mesh=mesh)
    sent = dict(model.named_parameters())
    received = build.cross(sent)
    for name, parameter in received.items():
        assert isinstance(parameter, torch.nn.Parameter)
        assert isinstance(parameter, DTensor)
        assert parameter.requires_grad
        assert torch.equal(parameter.to_local(), sent[name].to_local())


def locals_of(node: Any) -> Any:
    """The same nest with each tensor's own bits."""
    if isinstance(node, torch.Tensor):
        local = node.to_local() if isinstance(node, DTensor) else node
        return str(local.dtype), tuple(local.shape), build.raw(local)
    if isinstance(node, dict):
        return {key: locals_of(child) for key, child in node.items()}
    return [locals_of(child) for child in node] if isinstance(node, list | tuple) else node


@pytest.mark.parametrize("kind", [dict, list])
def test_parameters_keep_their_need_of_gradients_and_ties(kind: Any) -> None:
    tied = torch.nn.Parameter(torch.randn(4))
    parts = {
        "a": tied,
        "b": tied,
        "frozen": torch.nn.Parameter(torch.randn(2), requires_grad=False),
        "buffer": torch.ones(1),
    }
    state = {"parts": parts if kind is dict else list(parts.values())}
    received = build.cross(state)
    assert build.same(received, state)
    values = list(received["parts"].values()) if kind is dict else received["parts"]
    assert values[0].data_ptr() == values[1].data_ptr()


def test_overlapping_and_expanded_views_are_filled_in_place() -> None:
    def state(base: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"windows": base.unfold(0, 4, 2), "one": base[:1].expand(5), "rows": base[2:8].view(2, 3)}

    live = torch.zeros(10)
    received = build.cross(state(torch.arange(10.0)), state(live))
    assert torch.equal(live, torch.arange(10.0))
    assert build.same(received, state(torch.arange(10.0)))


@WITHOUT_CUDA
def test_pinned_memory_crosses_and_stays_pinned_in_place() -> None:
    sent, live = torch.arange(8.0).pin_memory(), torch.zeros(8).pin_memory()
    assert torch.equal(build.cross({"w": sent})["w"], sent)
    assert build.cross({"w": sent}, {"w": live})["w"].is_pinned()
    assert torch.equal(live, sent)


@WITHOUT_CUDA
def test_tensors_on_cuda_arrive_on_the_cpu_and_are_filled_where_they_are() -> None:
    sent, live = torch.arange(8.0, device="cuda"), torch.zeros(8, device="cuda")
    assert build.same(build.cross({"w": sent}), {"w": sent.cpu()})
    assert build.cross({"w": sent}, {"w": live})["w"] is live
    assert torch.equal(live, sent)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_tensors_are_refused_by_name() -> None:
    quantised = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    with pytest.raises(PeerRefused, match=r"w is a Tensor of torch\.strided torch\.qint8 on cpu, which cannot cross"):
        build.cross({"w": quantised})


@pytest.mark.parametrize("count", [100, 2 << 20])
@pytest.mark.parametrize("names", ["ab", "ba"], ids=["the shorter first", "the longer first"])
def test_two_storages_of_one_memory_cross_whichever_is_longer(names: str, count: int) -> None:
    memory = np.arange(count, dtype=np.float32)
    state = dict(sorted(zip(names, (torch.from_numpy(memory[: count // 2]), torch.from_numpy(memory)), strict=True)))
    assert build.same(build.cross(state), state)
