"""Which state is given, and which inputs does the search begin with?

One that has something of everything that a manifest can tell; what only a group could make is told by hand.
"""

import json
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import numpy as np
import torch

import builders_classes as classes
from checkpointheal import digest, wire
from checkpointheal.arena import header
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.layout import Identity, Manifest, Schema
from checkpointheal.contract.seal import Seal
from checkpointheal.ends.live import LiveSource
from checkpointheal.manifest import Described, describe, pack
from fuzz import scripts

CHUNK = 64
HEAL, ATTEMPT, STEP = "library", 1, 0
"""What the library's door says for the caller."""
KNOWN = (classes.Pair, classes.Colour, classes.Rights, classes.Row, classes.Plan, classes.Wrapped)
"""Classes that a search registers first."""


def small() -> dict[str, Any]:
    """Ties, a view, a few values."""
    weight = torch.arange(24.0).reshape(4, 6)
    return {"w": weight, "tied": weight, "row": weight[1], "step": 3, "b": torch.ones(3, dtype=torch.bfloat16)}


def wide() -> dict[Any, Any]:
    """Every kind of node and of value."""
    return {
        "p": torch.nn.Parameter(torch.ones(2)),
        "z": torch.empty(0, 3),
        "q": classes.a_wrapped(),
        (1, "x"): OrderedDict(a=[1.5, (None, True)]),
        3: Counter("ab"),
        classes.Colour.RED: classes.Pair(torch.zeros(1, dtype=torch.int8), classes.Rights.READ),
        "row": classes.Row([b"k", 1j, float("nan"), list(range(40))]),
        "more": [deque([1], 2), defaultdict(int, a=1), np.arange(3), np.float32(2), torch.Size([1]), torch.int8],
        "words": (torch.device("cpu"), torch.strided, torch.channels_last),
        "plan": classes.Plan(0.1, torch.ones(1)),
    }


def many() -> dict[str, Any]:
    """Runs of tensors, in a mapping and in a list, of few forms."""
    rows = {f"r{number}": torch.full((3,), float(number)) for number in range(9)}
    return {"m": rows, "l": [torch.arange(number % 2 + 1) for number in range(12)], "n": 1}


def older() -> dict[str, Any]:
    """The same some steps ago: every other chunk of the list had other bytes."""
    state = many()
    for tensor in state["l"][::2]:
        tensor.add_(1)
    return state


def offer_of(described: Described, chunk_bytes: int = CHUNK) -> wire.Offer:
    """What the library's door would offer, in smaller chunks."""
    schema, chunks = digest.schema_digest(described.schema), LiveSource(described, chunk_bytes).digests()
    state = digest.state_digest(schema, described.values, chunks)
    return wire.Offer(
        heal=HEAL,
        attempt=ATTEMPT,
        identity=Identity(step=STEP, schema_digest=schema, state_digest=state),
        manifest=Manifest(schema=described.schema, values=described.values),
        chunk_bytes=chunk_bytes,
        chunks=chunks,
    )


def given(state: Any) -> list[bytes]:
    """All that an honest donor of it says."""
    described = describe(state)
    offer, source = offer_of(described), LiveSource(described, CHUNK)
    return scripts.framed(offer) + [
        part.numpy().tobytes() for at in range(len(offer.chunks)) for part in source.parts(at)
    ]


def asked(state: Any) -> list[bytes]:
    """All that an honest recipient of it says."""
    offer = offer_of(describe(state))
    hello = wire.Hello(heal=HEAL, attempt=ATTEMPT, spoken=(1,))
    want = wire.Want(ranges=(wire.Range(first=0, end=1), wire.Range(first=2, end=len(offer.chunks))))
    return scripts.framed(hello, want, wire.Receipt(state_digest=offer.identity.state_digest))


def manifests() -> list[bytes]:
    """Of each state, and of one with distributed tensors."""
    wholes = [describe(state) for state in (small(), wide(), many())]
    found = [Manifest(schema=one.schema, values=one.values).model_dump(mode="json", by_alias=True) for one in wholes]
    return [json.dumps(each).encode() for each in (*found, _distributed(found[0]))]


def seals() -> list[bytes]:
    """What lies in an arena: a header, a seal, and a private part, each behind the byte that says which."""
    described = describe(small())
    schema = digest.schema_digest(described.schema)
    seal = Seal(
        job="job", member=MemberId(replica=0), incarnation="first", epoch=1, step=7, schema_digest=schema,
        header_bytes=4096, data_bytes=described.schema.data_bytes, values=described.values,
    )  # fmt: skip
    laid_out = header.lay_out(described.schema)
    bare = json.dumps(described.schema.model_dump(mode="json")).encode()
    return [
        b"\0" + laid_out.render(laid_out.slot_bytes + 4096).rstrip(),
        b"\1" + seal.model_dump_json().encode(),
        b"\2" + pack({"parts": small(), "beside": [1.5]}),
        b"\3" + bare,
    ]


def _distributed(manifest: dict[str, Any]) -> dict[str, Any]:
    placement = {
        "global_shape": [8, 6], "global_stride": [6, 1], "placements": ["Shard(dim=0)"], "mesh_shape": [2],
        "mesh_dim_names": ["dp"], "mesh_coordinate": [0],
    }  # fmt: skip
    schema = json.loads(json.dumps(manifest["schema"]))
    schema["forms"][0] |= {"kind": "dtensor", "placement": placement}
    outer = {"shape": [8, 6], "stride": [6, 1], "requires_grad": False, "parameter": False, "placement": placement}
    shard = {"offsets": [0], "sizes": [6], "holder": "rank:0/cpu"}
    sharding = {
        "global_shape": [6], "dtype": "float32", "requires_grad": False, "memory_format": "contiguous_format",
        "pinned": False, "strides": None, "shards": [shard], "local": [shard],
    }  # fmt: skip
    pairs = dict(map(tuple, schema["tree"]["d"]))
    pairs |= {"tied": {"dt": [outer, {"T": 1}]}, "row": {"sh": [sharding, [{"T": 2}]]}}
    schema["tree"] = {"d": [list(pair) for pair in pairs.items()]}
    Schema.model_validate(schema)
    return {**manifest, "schema": schema}
