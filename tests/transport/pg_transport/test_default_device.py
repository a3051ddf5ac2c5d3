"""Where the caller makes tensors on another device by default, a state crosses as ever: buffers are the CPU's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import builders_ends
import builders_pg as build
from checkpointheal.contract.cut import Cut
from checkpointheal.ends.excuse import Excuse
from checkpointheal.errors import Misuse
from checkpointheal.manifest import describe
from checkpointheal.manifest.packed import pack, unpack_apart
from checkpointheal.manifest.packing import clear, gather, scatter


def a_state() -> dict[str, Any]:
    """Small tensors, a large one, an empty one, and one that lies in the middle of another's storage."""
    line = torch.arange(9.0)
    return {"w": torch.ones(10), "v": torch.arange(5), "none": torch.ones(0), "big": torch.ones(1 << 19), "a": line[2:]}


def zeros() -> dict[str, Any]:
    return {name: torch.zeros_like(each) for name, each in a_state().items()}


def elsewhere(act: Callable[[], Any]) -> Callable[[], Any]:
    """In a thread whose tensors have no memory by default."""

    def run() -> Any:
        with torch.device("meta"):
            return act()

    return run


TARGETS: dict[str, tuple[Any, dict[str, Any]]] = {
    "new memory": (None, {}),
    "in place": (zeros(), {}),
    "staged": (zeros(), {"staged": True}),
    "a target that lies otherwise": ({**zeros(), "w": torch.zeros(12)[2:]}, {}),
    "a lenient target": ({**zeros(), "v": torch.zeros(5), "big": torch.zeros(2, 1 << 18).view(-1)}, {"strict": False}),
}


@pytest.mark.parametrize("snapshot", [False, True], ids=["live", "snapshot"])
@pytest.mark.parametrize(("target", "options"), TARGETS.values(), ids=TARGETS.keys())
def test_a_state_crosses(target: Any, options: dict[str, Any], snapshot: bool) -> None:
    state = a_state()
    giving, taking = builders_ends.gloo_groups()
    receiver = build.a_receiver(taking, target, 20, **options) if target else build.a_transport(taking)
    gave, took = builders_ends.side_by_side(
        elsewhere(lambda: build.a_transport(giving).send_checkpoint([1], state, snapshot=snapshot)),
        elsewhere(lambda: receiver.recv_checkpoint(0)),
    )
    assert gave is None
    assert {each.device for each in took.values()} == {build.CPU}
    assert all(torch.equal(took[name].to(state[name].dtype), state[name]) for name in state)


def test_so_does_one_from_several_ranks() -> None:
    state = a_state()
    *givers, taking = builders_ends.gloo_groups(3)
    sends = [lambda each=each: build.a_transport(each).send_checkpoint([2], state) for each in givers]
    *_, took = builders_ends.side_by_side(
        *map(elsewhere, sends), elsewhere(lambda: build.a_transport(taking).recv_checkpoint([0, 1]))
    )
    assert all(torch.equal(took[name], state[name]) for name in state)


def test_it_is_read_and_packed() -> None:
    state = a_state()
    with torch.device("meta"):
        read = b"".join(map(bytes, describe(state).chunks(100)))
        back = unpack_apart(pack({"parts": state}), "parts")[0]["parts"]
        unpack_apart(pack({}), "parts")
        excuse = Excuse(whole=True)
        told = [excuse.parts(Misuse("no"), [300, 9]) for _ in range(2)]
    assert read == b"".join(map(bytes, describe(state).chunks(100)))
    assert all(torch.equal(back[name], state[name]) for name in state)
    assert {part.device for parts in told for part in parts} == {build.CPU}


def test_a_buffer_without_memory_is_refused() -> None:
    described = describe({"a": torch.ones(3), "b": torch.ones(2)})
    cut = Cut(described.schema, 1 << 10)
    pieces, bucket = cut.columns(0), torch.empty(cut.length(0), dtype=torch.uint8, device="meta")
    for act in (
        lambda: clear(bucket, pieces.gaps(cut.length(0))),
        lambda: gather(bucket, pieces, described.regions),
        lambda: scatter(bucket, pieces, described.regions),
    ):
        with pytest.raises(Misuse, match="this buffer is on meta"):
            act()
