"""`checkpointheal open` shows what lies in an arena, proves that it is whole, and says what is wrong if it is not."""

import json
import re
import subprocess
import sys
import tracemalloc

import pytest
import torch
from safetensors.torch import load_file

import builders_classes as classes
from checkpointheal import digest, opened
from checkpointheal.arena import Arena
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.seal import Seal
from checkpointheal.errors import BytesDiffer, NoArena, NotSealed, SlotDamaged, UnknownClass
from checkpointheal.manifest import describe, write_out


def a_state(step):
    weight = torch.full((3, 4), float(step))
    return {"model": {"w": weight, "tied": weight, "half": torch.ones(5).bfloat16()}, "schedule": {"last": step}}


def keep(arena, step, state=None, **changes):
    described = describe(a_state(step) if state is None else state)
    arena.reserve(Arena.slot_bytes(described.schema))
    writing = arena.begin()
    write_out(described, writing.prepare(described.schema))
    seal = Seal(
        job="job",
        member=MemberId(replica=2),
        incarnation="t1",
        epoch=3,
        step=step,
        schema_digest=digest.schema_digest(described.schema),
        header_bytes=writing.header_bytes,
        data_bytes=described.schema.data_bytes,
        values=described.values,
    )
    writing.seal(seal.model_copy(update=changes))
    return writing.slot


@pytest.fixture
def arena(tmp_path):
    return Arena.create(tmp_path / "arena")


@pytest.fixture
def folder(arena, tmp_path):
    return tmp_path / "arena"


def run(capsys, *arguments):
    status = opened.main([str(each) for each in arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_newest_state_comes_back_with_its_ties_and_in_memory_of_its_own(arena, folder):
    keep(arena, 4)
    keep(arena, 5)
    state = opened.load(folder)
    assert state["schedule"] == {"last": 5}
    assert torch.equal(state["model"]["w"], torch.full((3, 4), 5.0))
    assert state["model"]["half"].dtype == torch.bfloat16
    state["model"]["w"].zero_()
    assert not state["model"]["tied"].any()
    assert opened.load(folder)["model"]["w"].all()


def test_only_the_very_same_view_of_the_same_memory_is_told_as_tied(arena, folder):
    both = torch.arange(8.0)
    views = {"left": both[:4], "right": both[4:], "whole": both, "square": both.view(2, 4), "again": both[:4]}
    keep(arena, 4, views)
    (found,) = opened.look(folder).sealed
    assert {each.path: each.tied_to for each in found.tensors} == {**dict.fromkeys(views), "again": "left"}


def test_a_slot_can_be_named(arena, folder):
    older = keep(arena, 4)
    keep(arena, 5)
    assert opened.load(folder, slot=older)["schedule"] == {"last": 4}


def test_the_folder_around_an_arena_will_do_unless_it_holds_several(arena, folder, tmp_path):
    keep(arena, 4)
    assert opened.load(tmp_path)["schedule"] == {"last": 4}
    Arena.create(tmp_path / "other")
    with pytest.raises(NoArena, match="holds 2 arenas, name one: arena, other"):
        opened.load(tmp_path)


def test_what_lies_there_is_shown(arena, folder, capsys):
    keep(arena, 4)
    keep(arena, 5)
    arena.write_private(5, b"private")
    status, said, _ = run(capsys, folder)
    assert status == 0
    assert "slot 1: step 5 of epoch 3, job 2/0, 3 tensors, 0.0 MB, with its private part, digest " in said
    assert "slot 0: step 4 of epoch 3, job 2/0, 3 tensors, 0.0 MB, without a private part, digest " in said
    assert "model.w     float32    [3, 4]" in said
    assert "is model.w" in said


def test_the_same_is_told_as_json(arena, folder, capsys):
    keep(arena, 4)
    keep(arena, 5)
    status, said, _ = run(capsys, folder, "--json")
    found = json.loads(said)
    assert status == 0
    assert [each["step"] for each in found["sealed"]] == [5, 4]
    assert [each["path"] for each in found["sealed"][0]["tensors"]] == ["model.w", "model.tied", "model.half"]
    assert found["sealed"][0]["state_digest"] != found["sealed"][1]["state_digest"]
    status, said, _ = run(capsys, folder, "--json", "--slot", 0)
    assert [each["step"] for each in json.loads(said)["sealed"]] == [4]


def test_the_slot_is_a_safetensors_file_too(arena, folder):
    keep(arena, 4)
    regions = load_file(folder / "slot-0.safetensors")
    assert torch.equal(regions["region.0000"].view(3, 4), torch.full((3, 4), 4.0))


@pytest.mark.parametrize("make", [lambda place: place.mkdir(), lambda place: None, lambda place: place.write_text("")])
def test_a_place_without_an_arena_is_one_line(tmp_path, make, capsys):
    make(tmp_path / "place")
    status, _, complaint = run(capsys, tmp_path / "place")
    assert status == opened.FAILED
    assert complaint.count("\n") == 1
    assert str(tmp_path / "place") in complaint


def test_an_arena_in_which_nothing_is_sealed_says_so(arena, folder, capsys):
    status, said, _ = run(capsys, folder)
    assert (status, said.splitlines()[1]) == (opened.FAILED, "  nothing is sealed here yet")
    with pytest.raises(NotSealed, match="nothing is sealed here yet"):
        opened.load(folder)
    keep(arena, 4)
    status, said, _ = run(capsys, folder, "--slot", 1)
    assert (status, said.splitlines()[1]) == (opened.FAILED, "  slot 1 holds no sealed generation")


def test_the_exit_status_is_of_all_that_lies_there_as_the_help_says(arena, folder, capsys):
    older, newest = keep(arena, 4), keep(arena, 5)
    assert run(capsys, folder)[0] == 0
    (folder / f"slot-{older}.seal.json").write_text("{}")
    assert run(capsys, folder)[0] == opened.FAILED
    assert run(capsys, folder, "--slot", newest)[0] == 0
    told = " ".join(opened.parser().format_help().split())
    assert "Exit status 1: nothing is sealed there, or a slot is damaged" in told


def test_the_line_of_python_that_the_help_names_gives_the_state(arena, folder):
    keep(arena, 4)
    line = re.search(r"In Python: (.*?\(DIR\))", " ".join(opened.parser().format_help().split()))
    assert line is not None
    program = line[1].replace("; ", "; print(").replace("DIR", repr(str(folder))) + "['schedule'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "{'last': 4}\n"


def test_a_state_with_objects_is_shown_without_their_classes_and_loaded_with_them(arena, folder, capsys):
    keep(arena, 4, {"pair": classes.Pair(torch.ones(3), classes.Colour.RED), "wrapped": classes.a_wrapped(2.0)})
    status, said, _ = run(capsys, folder)
    assert status == 0
    assert "pair.left        float32    [3]" in said
    assert "wrapped.values_  int8       [4, 4]" in said
    with pytest.raises(UnknownClass, match=r"pair\.right is a builders_classes\.Colour, which is not known here"):
        opened.load(folder)
    with classes.registered(classes.Pair, classes.Colour, classes.Wrapped):
        state = opened.load(folder)
    assert (state["pair"].left.tolist(), state["pair"].right) == ([1.0] * 3, classes.Colour.RED)
    assert state["wrapped"].scale.tolist() == [2.0, 2.0]


DAMAGE = {
    "a seal that is none": (lambda folder: (folder / "slot-0.seal.json").write_text("{}"), SlotDamaged),
    "a file cut short": (lambda folder: (folder / "slot-0.safetensors").write_bytes(b"short"), SlotDamaged),
    "another header": (lambda folder: patch(folder, 20, b"XXXX"), SlotDamaged),
    "another byte": (lambda folder: patch(folder, -3000, b"X"), BytesDiffer),
}


def patch(folder, position, content):
    data = bytearray((folder / "slot-0.safetensors").read_bytes())
    where = position if position > 0 else int.from_bytes(data[:8], "little") + 8
    data[where : where + len(content)] = content
    (folder / "slot-0.safetensors").write_bytes(data)


@pytest.mark.parametrize(("harm", "error"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_named_and_never_shown_as_a_state(arena, folder, capsys, harm, error):
    keep(arena, 4)
    promised = opened.look(folder).sealed[0].state_digest
    arena.discard(0)
    keep(arena, 4, state_digest=promised)
    harm(folder)
    status, said, _ = run(capsys, folder)
    assert status == opened.FAILED
    assert f"slot 0: {error.__name__}: " in said
    with pytest.raises(error):
        opened.load(folder)


def test_a_generation_that_is_overwritten_meanwhile_is_read_again(arena, folder):
    keep(arena, 1)
    keep(arena, 2)
    tried = []

    def read(reading):
        tried.append(reading.seal.step)
        if len(tried) < 3:
            keep(arena, tried[-1] + 1)
            keep(arena, tried[-1] + 2)
        return reading.seal.step

    assert opened._read_whole(Arena.open(folder), None, read) == 6
    assert tried == [2, 4, 6]


def test_opening_does_not_keep_a_trainer_from_committing(arena, folder):
    keep(arena, 1)
    keep(arena, 2)
    slots = opened._read_whole(Arena.open(folder), 1, lambda reading: [keep(arena, 3)])
    assert slots == [0]


def test_a_state_is_read_into_memory_once(arena, folder):
    keep(arena, 4, {"model": {"w": torch.ones(12 << 20)}})
    tracemalloc.start()
    try:
        opened.load(folder)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * (48 << 20)
