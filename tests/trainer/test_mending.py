"""A wrapper that was left in the middle of a step begins the next one as if that had not been."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, post_localSGD_hook, powerSGD_hook
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from builders_level2 import with_fsdp2
from checkpointheal.errors import BucketsRebuilt, HookCounts, TorchTooOld
from checkpointheal.manifest.wholes import local_of
from checkpointheal.trainer import mending
from checkpointheal.trainer.mending import mend, require_survivable
from checkpointheal.trainer.stable_group import StableGroup

pytestmark = pytest.mark.usefixtures("stable_group")


class Mistake(Exception):
    pass


def a_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))


def fail_in_backward(model, wrapped):
    def fail(*_):
        raise Mistake

    hook = model[0].register_full_backward_hook(fail)
    with pytest.raises(Mistake):
        wrapped(torch.ones(2, 4, requires_grad=True)).sum().backward()
    hook.remove()


def gradients(model):
    return [local_of(parameter.grad).clone() for parameter in model.parameters()]


def assert_a_step_is_as_of_a_new_model(model, wrapped):
    model.zero_grad(set_to_none=True)
    wrapped(torch.ones(1, 4)).sum().backward()
    expected = a_model()
    expected(torch.ones(1, 4)).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(gradients(model), gradients(expected), strict=True))


def test_a_ddp_that_failed_in_backward_begins_a_new_step(stable_group):
    model = a_model()
    wrapped = DistributedDataParallel(model, process_group=stable_group, find_unused_parameters=True)
    require_survivable([model])
    fail_in_backward(model, wrapped)
    mend([model])
    assert_a_step_is_as_of_a_new_model(model, wrapped)


def test_a_ddp_that_failed_in_its_first_micro_batch_asks_for_the_same_collectives_as_a_new_one(
    stable_group, monkeypatch
):
    asked = []
    carry = StableGroup.carry

    def listening(group, collective, *arguments):
        asked.append(collective)
        return carry(group, collective, *arguments)

    def a_wrapper():
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        return DistributedDataParallel(model, process_group=stable_group, find_unused_parameters=True)

    def collectives_of_a_step(wrapped):
        asked.clear()
        wrapped(torch.ones(2, 4)).sum().backward()
        return list(asked)

    monkeypatch.setattr(StableGroup, "carry", listening)
    left, new = a_wrapper(), a_wrapper()
    with left.no_sync():
        fail_in_backward(left.module, left)
    mend([left.module])
    assert collectives_of_a_step(left) == collectives_of_a_step(new)
    assert "broadcast" in asked, "the statistics of the first rank"


def a_ddp(group):
    return DistributedDataParallel(a_model(), process_group=group, find_unused_parameters=True)


COUNTING = {
    "PowerSGD": (lambda: powerSGD_hook.PowerSGDState(None), powerSGD_hook.powerSGD_hook),
    "PowerSGD in a wrapper": (
        lambda: powerSGD_hook.PowerSGDState(None),
        default_hooks.fp16_compress_wrapper(powerSGD_hook.powerSGD_hook),
    ),
    "local SGD": (
        lambda: post_localSGD_hook.PostLocalSGDState(None, None, 10),
        post_localSGD_hook.post_localSGD_hook,
    ),
}


@pytest.mark.parametrize(("state", "hook"), COUNTING.values(), ids=COUNTING)
def test_a_ddp_whose_hook_counts_its_steps_is_refused_by_name(stable_group, state, hook):
    """A member that comes back counts from 0: it would ask for other collectives than its peers."""
    wrapped = a_ddp(stable_group)
    wrapped.register_comm_hook(state(), hook)
    with pytest.raises(HookCounts, match=r"DDP around Sequential has the hook .*SGD.*: .*use .*without a state"):
        require_survivable([wrapped.module])


def test_a_ddp_whose_hook_keeps_nothing_may_stay(stable_group):
    for state, hook in ((None, default_hooks.fp16_compress_hook), (stable_group, default_hooks.allreduce_hook)):
        wrapped = a_ddp(stable_group)
        wrapped.register_comm_hook(state, hook)
        require_survivable([wrapped.module])


def test_a_wrapper_that_cannot_go_on_and_that_its_owner_has_let_go_of_keeps_nobody_from_it(stable_group):
    """It refers to itself, as one with a hook does: only the collector takes it."""
    model = a_model()
    wrapped = DistributedDataParallel(model, process_group=stable_group)
    wrapped.itself = [wrapped]
    with pytest.raises(BucketsRebuilt):
        require_survivable([model])
    del wrapped
    require_survivable([model])


@with_fsdp2
def test_an_fsdp2_that_failed_in_backward_begins_a_new_step():
    model = a_model()
    mesh = init_device_mesh("cpu", (1, 1), mesh_dim_names=("replicate", "shard"))
    for part in (model[0], model[2]):
        fully_shard(part, mesh=mesh)
    wrapped = fully_shard(model, mesh=mesh)
    require_survivable([model])
    mend([model])  # nothing has run, nothing is to be mended
    fail_in_backward(model, wrapped)
    mend([model])
    assert_a_step_is_as_of_a_new_model(model, wrapped)


def test_an_fsdp2_that_cannot_be_mended_is_refused_by_name(monkeypatch):
    class Old(nn.Module):
        """As FSDPModule was before it could forget a step."""

    monkeypatch.setattr(mending, "FSDPModule", Old)
    with pytest.raises(TorchTooOld, match="reset_iter_state"):
        require_survivable([nn.Sequential(Old())])
    monkeypatch.setattr(mending, "FSDPModule", None)
    require_survivable([nn.Sequential(Old())])


def test_a_ddp_over_a_group_of_torchs_own_is_none_of_ours():
    own = dist.ProcessGroupGloo(dist.HashStore(), 0, 1)
    group = dist.ProcessGroup(0, 1)
    group._set_default_backend(dist.ProcessGroup.BackendType.GLOO)
    group._register_backend(torch.device("cpu"), dist.ProcessGroup.BackendType.GLOO, own)
    wrapped = DistributedDataParallel(a_model(), process_group=group)
    require_survivable([wrapped])
