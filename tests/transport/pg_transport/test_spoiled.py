"""A target that could not be completed is no state, and everybody is told until it is one again."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch

import builders_ends
import builders_pg as build
from checkpointheal import digest
from checkpointheal.ends import mixed
from checkpointheal.ends import target as filling
from checkpointheal.errors import BytesDiffer, Misuse, PeerRefused, TargetInvalid
from checkpointheal.manifest import Described, describe

CHUNK = digest.CHUNK_BYTES
OLD, NEW = 97.0, 103.0


def a_state(value: float) -> dict[str, Any]:
    """Four chunks, the first and the last of floats."""
    floats = CHUNK // 4
    return {
        "a": torch.full((floats,), value),
        "n": torch.full((2 * CHUNK,), int(value), dtype=torch.uint8),
        "z": torch.full((floats,), value),
    }


def numbers(tensor: torch.Tensor) -> set[str]:
    return set(map(str, tensor.unique().tolist()))


def test_what_came_is_verified_and_what_did_not_is_nan_but_for_whole_numbers() -> None:
    target = a_state(OLD)
    build.broken_after(2, target, a_state(NEW))
    assert numbers(target["a"]) == {"103.0"}
    assert numbers(target["n"]) == {"103", "97"}
    assert target["z"].isnan().all()


def test_where_only_whole_numbers_lack_every_other_number_is_nan() -> None:
    state = {"a": torch.full((CHUNK // 4,), NEW), "n": torch.ones(CHUNK, dtype=torch.uint8)}
    target = {"a": torch.full((CHUNK // 4,), OLD), "n": torch.zeros(CHUNK, dtype=torch.uint8)}
    build.broken_after(1, target, state)
    assert target["a"].isnan().all()


def test_before_the_first_chunk_nothing_is_touched() -> None:
    target = a_state(OLD)
    receiver = build.broken_after(0, target, a_state(NEW))
    assert build.same(target, a_state(OLD))
    receiver.guard(module := torch.nn.Linear(1, 1))
    module(torch.ones(1))


def test_a_staged_receive_touches_nothing_before_all_is_here() -> None:
    target = a_state(OLD)
    build.broken_after(3, target, a_state(NEW), staged=True)
    assert build.same(target, a_state(OLD))


def test_so_does_one_whose_target_lies_otherwise_in_its_storages() -> None:
    target = {name: torch.cat([live, live])[live.numel() :] for name, live in a_state(OLD).items()}
    both = torch.full((2 * CHUNK // 4,), OLD)
    target["a"], target["z"] = both[: CHUNK // 4], both[CHUNK // 4 :]
    before = copy.deepcopy(target)
    build.broken_after(3, target, a_state(NEW))
    assert build.same(target, before)


def test_a_chunk_of_other_bytes_never_reaches_the_target() -> None:
    state, target = a_state(NEW), a_state(OLD)
    giving, taking = builders_ends.gloo_groups()

    def write(number: int) -> None:
        if number == 2:
            state["z"].data[-1] = 1.0

    _, took = builders_ends.side_by_side(
        lambda: build.a_transport(build.Recording(giving, write)).send_checkpoint([1], state),
        lambda: build.a_receiver(taking, target, 20).recv_checkpoint(0),
    )
    assert isinstance(took, BytesDiffer)
    assert [numbers(target[name]) for name in "an"] == [{"103.0"}, {"103"}]
    assert target["z"].isnan().all()


def test_nobody_is_sent_a_mixture() -> None:
    target = a_state(OLD)
    receiver = build.broken_after(1, target, a_state(NEW))
    with pytest.raises(TargetInvalid, match=r"PeerLost: .* what did not is NaN\. Receive into it again"):
        receiver.send_checkpoint([0], {"another": torch.ones(3)}, timeout=build.timedelta(seconds=0.1))


def test_over_no_transport_and_the_recipients_are_told_why() -> None:
    target = a_state(OLD)
    receiver = build.broken_after(1, target, a_state(NEW))
    giving, taking = builders_ends.gloo_groups()
    gave, took = builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], {"part": target["z"]}),
        lambda: build.a_transport(taking).recv_checkpoint(0),
    )
    assert isinstance(gave, TargetInvalid)
    assert isinstance(took, PeerRefused)
    assert took.refusal == "TargetInvalid"
    assert build.cross({"copy": target["a"].clone()}).keys() == {"copy"}, "memory that is in no mixture"
    assert receiver is not None


def test_a_guarded_module_computes_nothing_until_it_is_healed() -> None:
    module = torch.nn.Linear(CHUNK // 4, 2, bias=False)
    target, state = module.state_dict(), copy.deepcopy(module.state_dict())
    receiver = build.broken_after(1, target, state)
    handle = receiver.guard(module)
    asked = torch.ones(CHUNK // 4)
    with pytest.raises(TargetInvalid):
        module(asked)
    handle.remove()
    assert module(asked).isnan().any()
    receiver.guard(module)
    giving, taking = builders_ends.gloo_groups()
    _, took = builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], state),
        lambda: build.a_receiver(taking, target, 20).recv_checkpoint(0),
    )
    assert not isinstance(took, Exception)
    assert module(asked).isfinite().all(), "whoever healed it"


def test_a_receive_heals_and_so_does_the_callers_own_word() -> None:
    state = a_state(NEW)
    target = a_state(OLD)
    for mend in ("receive", "word"):
        receiver = build.broken_after(1, target, state)
        module = torch.nn.Linear(1, 1)
        receiver.guard(module)
        if mend == "word":
            for name, live in target.items():
                live.copy_(state[name])
            receiver.declare_whole()
        else:
            giving, taking = builders_ends.gloo_groups()
            builders_ends.side_by_side(
                lambda giving=giving: build.a_transport(giving).send_checkpoint([1], state),
                lambda taking=taking: build.a_receiver(taking, target, 20).recv_checkpoint(0),
            )
        module(torch.ones(1))
        assert build.same(build.cross(target), state)


@pytest.mark.parametrize("named", [False, True], ids=["of its own target", "of a state that is named"])
def test_the_callers_word_to_another_transport_heals_too(named: bool) -> None:
    target = a_state(OLD)
    build.broken_after(1, target, a_state(NEW))
    for name, live in a_state(NEW).items():
        target[name].copy_(live)
    if named:
        build.a_transport(None).declare_whole(target)
    else:
        build.a_transport(None, target).declare_whole()
    assert build.same(build.cross(target), a_state(NEW))


def test_the_callers_word_of_a_part_leaves_the_rest_a_mixture() -> None:
    target = a_state(OLD)
    receiver = build.broken_after(1, target, a_state(NEW))
    build.a_transport(None).declare_whole({"a": target["a"]})
    with pytest.raises(PeerRefused, match="TargetInvalid"):
        build.cross(target)
    assert receiver is not None


def test_a_bridged_receive_of_all_that_the_target_has_heals() -> None:
    target, state = a_state(OLD), a_state(NEW)
    build.broken_after(1, target, state)
    giving, taking = builders_ends.gloo_groups()
    _, took = builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint([1], {**state, "n": state["n"].int(), "more": 1}),
        lambda: build.a_receiver(taking, target, 20, strict=False).recv_checkpoint(0),
    )
    assert build.same(took, state)
    assert build.same(build.cross(target), state)


def test_a_bridged_receive_heals_nothing_of_memory_between_the_elements_that_came() -> None:
    whole = a_state(OLD)
    build.broken_after(1, whole, a_state(NEW))
    giving, taking = builders_ends.gloo_groups()
    half = {name: live[::2] for name, live in whole.items()}
    builders_ends.side_by_side(
        lambda: build.a_transport(giving).send_checkpoint(
            [1], {name: live[::2].clone() for name, live in a_state(NEW).items()}
        ),
        lambda: build.a_receiver(taking, half, 20, strict=False).recv_checkpoint(0),
    )
    with pytest.raises(PeerRefused, match="TargetInvalid"):
        build.cross(whole)


def test_a_bridged_receive_heals_only_where_it_left_nothing_as_it_was() -> None:
    target, state = a_state(OLD), a_state(NEW)
    build.broken_after(1, target, state)
    for offered, heals in (({"a": state["a"]}, False), (state, True)):
        giving, taking = builders_ends.gloo_groups()
        builders_ends.side_by_side(
            lambda giving=giving, offered=offered: build.a_transport(giving).send_checkpoint([1], offered),
            lambda taking=taking: build.a_receiver(taking, target, 20, strict=False).recv_checkpoint(0),
        )
        if heals:
            assert build.same(build.cross(target), state)
        else:
            with pytest.raises(PeerRefused, match="TargetInvalid"):
                build.cross(target)


def test_an_error_after_the_last_chunk_spoils_too() -> None:
    """The tensors are the offered ones, but the values that belong to them are lost."""
    giving, taking = builders_ends.gloo_groups()
    target = a_state(OLD)

    def tell(progress: Any) -> None:
        if progress.done == progress.total:
            raise Misuse("the progress bar broke")

    _, took = builders_ends.side_by_side(
        lambda: build.a_transport(giving, seconds=2).send_checkpoint([1], a_state(NEW)),
        lambda: build.a_receiver(taking, target, 20, progress=tell).recv_checkpoint(0),
    )
    assert isinstance(took, Misuse)
    assert target["a"].isnan().all()
    assert target["z"].isnan().all()


def interrupted(target: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """A transport that was left while it copied what had come into the target: the first tensor is there."""

    def copy(live: Described, regions: Sequence[torch.Tensor]) -> None:
        live.regions[0].copy_(regions[0])
        raise KeyboardInterrupt

    def copy_one(live: Described, index: int, offered: Any, regions: Sequence[torch.Tensor]) -> None:
        copy(live, regions)

    monkeypatch.setattr(filling, "write_over", copy)
    monkeypatch.setattr(filling, "_copy_bytes", copy_one)
    giving, taking = builders_ends.gloo_groups()
    receiver = build.a_receiver(taking, target, 20, **options)

    def receive() -> None:
        with pytest.raises(KeyboardInterrupt):
            receiver.recv_checkpoint(0)

    gave, _ = builders_ends.side_by_side(lambda: build.a_transport(giving).send_checkpoint([1], a_state(NEW)), receive)
    assert gave is None
    monkeypatch.undo()
    return receiver


@pytest.mark.parametrize("options", [{"staged": True}, {"strict": False}], ids=str)
def test_who_is_interrupted_while_what_came_is_copied_has_a_mixture_and_is_told(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = {**a_state(OLD), "only": torch.full((3,), OLD)} if "strict" in options else a_state(OLD)
    receiver = interrupted(target, monkeypatch, **options)
    assert target["a"].isnan().all()
    assert target["z"].isnan().all()
    assert "only" not in target or numbers(target["only"]) == {"97.0"}, "nothing came for it"
    receiver.guard(module := torch.nn.Linear(1, 1))
    for act in (lambda: module(torch.ones(1)), lambda: mixed.require_whole(describe(target).regions)):
        with pytest.raises(TargetInvalid, match="KeyboardInterrupt"):
            act()
    receiver.declare_whole()
    module(torch.ones(1))
    mixed.require_whole(describe(target).regions)


def test_memory_that_is_gone_is_in_no_mixture() -> None:
    target = a_state(OLD)
    receiver = build.broken_after(1, target, a_state(NEW))
    receiver._state_dict = None
    del target
    build.until_gone(receiver._spoiled)
    receiver.guard(module := torch.nn.Linear(1, 1))
    module(torch.ones(1))
    mixed.healed([torch.ones(1, dtype=torch.uint8)])
    assert not any(span.is_gone for memory in mixed._mixed for span in memory), "and is not remembered"
