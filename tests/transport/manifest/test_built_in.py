"""Values of Python's, numpy's and torch's own that are no numbers and no texts come back exactly; all know them."""

import io
import json
import os
import struct
import subprocess
import sys
from collections import deque
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import torch

import builders_classes as a
import builders_pg
from checkpointheal.errors import BadFrame, ClassDiffers, UnknownClass, UnsupportedLeaf
from checkpointheal.manifest import Anew, classes, describe, glance, rebuild, write_out

BERLIN = ZoneInfo("Europe/Berlin")
VALUES = {
    "a set": {3, 1, "x", None, 1.5, (1, "y")},
    "a set of numbers": set(range(100)),
    "an empty set": set(),
    "a frozen set": frozenset({b"k", 2}),
    "a set of objects": {date(2024, 2, 29), a.Colour.RED, frozenset({a.Colour.BLUE}), (a.Pair(1, date.min), 2)},
    "a range": range(5, -(10**30), -2),
    "a range of truths": range(True),
    "a slice": slice(None, 7, 2),
    "a slice of things": slice(date.min, [1], None),
    "a date": date(2024, 2, 29),
    "a moment": datetime(2024, 2, 29, 23, 59, 58, 999999),
    "a moment that comes twice": datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
    "a moment in UTC": datetime(2024, 1, 1, tzinfo=UTC),
    "a moment in a zone of seconds": datetime(1, 1, 1, tzinfo=timezone(timedelta(seconds=-1))),
    "a moment in a zone with a name": datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2), "mine")),
    "a time": time(1, 2, 3, 4, tzinfo=timezone(timedelta(hours=-3)), fold=1),
    "a span": timedelta(days=-(10**8), microseconds=7),
    "a zone": BERLIN,
    "a zone without a name": timezone(timedelta(hours=2)),
    "a path": PosixPath("/a/b.c"),
    "a path of any system": [PurePosixPath("."), PureWindowsPath("C:\\a")],
    "a fraction": Fraction(-(10**40), 3),
    "decimals": [Decimal("-0.00"), Decimal("1E+99999"), Decimal("NaN123"), Decimal("-sNaN"), Decimal("Infinity")],
    "bytes that change": bytearray(b"\0\xff"),
    "identifiers": [UUID(int=7), UUID(int=8, is_safe=SafeUUID.safe)],
    "a complex number": complex("nan-0j"),
    "dtypes of numpy": [np.dtype(">f4"), np.dtype("M8[3ns]"), np.dtype("O"), np.dtype("S7")],
    "how torch quantises": torch.per_channel_affine,
}


def through(state):
    described = describe(state)
    data = bytearray(described.schema.data_bytes)
    write_out(described, data)
    return Anew(described.schema, described.values, data, described.leaves).whole()


def facts(it):
    """All that can be told of it: a moment's fold and zone, too, by which `==` does not go."""
    if isinstance(it, list):
        return [facts(each) for each in it]
    if isinstance(it, set | frozenset):
        return type(it), it
    own = [getattr(it, name, None) for name in ("fold", "tzinfo", "is_safe", "start", "stop", "step")]
    return type(it), repr(it), repr(own), [type(each) for each in own]


@pytest.mark.parametrize("it", VALUES.values(), ids=VALUES)
def test_it_comes_back_exactly(it):
    assert facts(through({"it": it})["it"]) == facts(it)


@pytest.mark.parametrize("it", VALUES.values(), ids=VALUES)
def test_it_is_a_value_to_who_only_looks(it):
    described = describe({"it": it})
    glance(described.schema, described.values, b"")


HASHABLE = {
    name: it
    for name, it in VALUES.items()
    if name != "a set of objects" and not isinstance(it, list | set | bytearray | slice)
}


@pytest.mark.parametrize("it", HASHABLE.values(), ids=HASHABLE)
def test_it_may_be_a_key_beside_a_text_that_looks_like_it(it):
    state = {it: torch.ones(2), str(it): 1}
    back = through({"a": state})["a"]
    assert [facts(key) for key in back] == [facts(key) for key in state]
    described = describe({"a": state})
    data = bytearray(described.schema.data_bytes)
    assert len(glance(described.schema, described.values, data)["a"]) == 2


def test_a_set_with_a_member_of_an_enum_is_no_key():
    with pytest.raises(UnsupportedLeaf, match=r"a \(its key .* is a frozenset, which cannot cross: keys are "):
        describe({"a": {frozenset({a.Colour.RED}): 1}})


def test_a_set_of_plain_values_is_one_value_so_that_the_schema_is_the_same_whatever_is_in_it():
    assert describe({"seen": {1, "x"}}).schema == describe({"seen": set()}).schema


def test_a_live_set_is_filled_whatever_was_in_it():
    live = torch.zeros(2)
    received = builders_pg.cross({"w": torch.ones(2), "seen": {1, "x"}}, {"w": live, "seen": {7}})
    assert (received["seen"], live.tolist()) == ({1, "x"}, [1.0, 1.0])


STATE = """
import json
from datetime import date
from pathlib import PurePosixPath
from checkpointheal.manifest import describe
words = {f"word {n}" for n in range(50)}
things = {(PurePosixPath(word), date.min, frozenset({word, word[:6]})) for word in words}
described = describe({"words": words, "things": things})
print(json.dumps([described.schema.model_dump(mode="json"), described.values]))
"""


def test_two_processes_write_one_set_alike_though_their_hashes_differ():
    told = [
        subprocess.run(
            [sys.executable, "-c", STATE],
            check=True, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert json.loads(told[0]) == json.loads(told[1])


class Odd(tzinfo):
    def utcoffset(self, moment):
        return timedelta(0)


UTC_ALONE = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + bytes(6) + b"UTC\0"
NAMELESS = ZoneInfo.from_file(io.BytesIO(UTC_ALONE))
REFUSED = {
    "a zone of its own": (datetime(2024, 1, 1, tzinfo=Odd()), r"it is a datetime \(its time zone is a Odd.*timezone"),
    "a zone from a file": (time(1, tzinfo=NAMELESS), r"it is a time \(its time zone is a ZoneInfo.*by its key"),
    "a set of tensors": ({torch.ones(1)}, r"it is a set \(it holds a Tensor, which has no place"),
    "a set of objects that nobody knows": ({object()}, r"it is a set \(it holds a object"),
    "a set with half a surrogate pair": ({"\udcff"}, r"it is a text that holds half a surrogate pair"),
    "a path that is no text": (PurePosixPath("\udcff"), r"it is a text that holds half a surrogate pair"),
    "a dtype of records": (np.dtype([("x", "f4")]), r"it is a \w+ \(numpy writes it '\|V4', as it does another one"),
    "a dtype of texts": (np.dtypes.StringDType(), r"it is a StringDType \("),
    "a number of 5000 digits": (Fraction(10**5000, 3), r"it is a tuple \(Exceeds"),
}


@pytest.mark.parametrize(("it", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_no_other_process_could_make_is_refused_by_name(it, sentence):
    with pytest.raises(UnsupportedLeaf, match=sentence):
        describe({"it": it})


def test_a_key_that_cannot_be_taken_apart_is_named():
    with pytest.raises(UnsupportedLeaf, match=r"a \(its key .*\) is a time \(its time zone is a ZoneInfo"):
        describe({"a": {time(1, tzinfo=NAMELESS): 1}})


MANY = {"c": ["builtins.range", {"K": {"run": [0, 10**12, 1]}}]}
BAD = {
    "a set of a range without end": ["builtins.set", MANY],
    "a queue of a range without end": ["deque", {"l": [{"K": None}, MANY]}],
    "a default dict of a range without end": ["defaultdict", {"l": [{"K": "int"}, MANY]}],
    "a set with an element twice": ["builtins.set", {"l": [{"K": {"i": "1"}}, {"K": {"i": "1"}}]}],
    "a set of lists": ["builtins.frozenset", {"l": [{"l": []}]}],
    "bytes of a number": ["builtins.bytearray", {"K": {"i": str(10**12)}}],
    "a range of texts": ["builtins.range", {"K": {"tu": ["a", "b", "c"]}}],
    "a range of two": ["builtins.range", {"K": {"run": [1, 2]}}],
    "a slice of one": ["builtins.slice", {"K": {"run": [1]}}],
    "a month that is none": ["datetime.datetime", {"K": {"tu": [*[{"i": "13"}] * 8, None]}}],
    "a date that is none": ["datetime.date", {"K": "2024-02-30"}],
    "a date of bytes": ["datetime.date", {"K": {"b": "AAAA"}}],
    "a span without end": ["datetime.timedelta", {"K": {"run": [10**12, 0, 0]}}],
    "a zone out of the table": ["zoneinfo.ZoneInfo", {"K": "../../etc/passwd"}],
    "a zone that is a module": ["zoneinfo.ZoneInfo", {"K": "os/path"}],
    "a zone of a day": ["datetime.timezone", {"K": {"run": [1, 0, 0]}}],
    "a zone that is no zone": ["datetime.timezone", {"K": {"i": "3"}}],
    "a path of bytes": ["pathlib.PurePosixPath", {"K": {"b": "AAAA"}}],
    "a fraction of nothing": ["fractions.Fraction", {"K": {"run": [1, 0]}}],
    "a decimal that is a word": ["decimal.Decimal", {"K": "os"}],
    "an identifier that is none": ["uuid.UUID", {"K": {"tu": ["xyz", None]}}],
    "a dtype that is an expression": ["numpy.dtype", {"K": "(2,)i4"}],
    "a way to quantise that is a function": ["torch.qscheme", {"K": "save"}],
}


@pytest.mark.parametrize("node", BAD.values(), ids=BAD)
def test_what_a_donor_writes_of_it_that_cannot_be_is_refused_and_costs_nothing(node):
    schema = describe({"it": None}).schema.model_copy(update={"tree": {"d": [["it", {"V": 0}], ["bad", {"c": node}]]}})
    with pytest.raises((ClassDiffers, BadFrame), match="bad is a"):
        rebuild(schema, [None], b"")
    assert glance(schema, [None], b"")["it"] is None


def test_a_build_that_does_not_know_it_refuses_it_by_name_and_is_told_what_helps():
    described = describe({"it": {1}, "when": {date.min: 1}})
    with a.registered():
        for name in ("builtins.set", "datetime.date"):
            del classes._BY_NAME[name]
        with pytest.raises(UnknownClass, match=r"it is a builtins\.set, .*register_class\(set\)"):
            rebuild(described.schema, described.values, b"")


def test_who_registers_one_by_a_codec_of_its_own_is_not_overruled_and_without_one_nothing_changes():
    with a.registered(set, take_apart=sorted, put_together=set):
        assert "l" in describe({"it": {3, 1}}).schema.tree["d"][0][1]["c"][1]
        assert through({"it": {3, 1}})["it"] == {1, 3}
    with a.registered(set, deque, PosixPath):
        assert describe({"it": {1}}).schema == describe({"it": {2}}).schema
        assert through({"it": [deque([1], 3), PosixPath("a")]})["it"][0].maxlen == 3
