"""A second implementation of the wire, written from docs/wire.md alone: nothing of ours is imported here.

It has plain tensors, containers and values; its states are `dict`s in which a tensor is a `Tensor` with its bytes.
"""

import base64
import json
import socket
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import xxhash

HELLO, OFFER, WANT, RECEIPT, REFUSE = 1, 2, 3, 4, 5
MESSAGE, HERE, GOODBYE = 0, 1, 2
PREFIX, HEAD = struct.Struct("<4sHHQ"), struct.Struct("<BQ")
HEADER_LIMIT, ALIGNMENT, LARGE, RUN = 67108864, 64, 1048576, 8
WORDS = {"float32": ("F32", 4), "bfloat16": ("BF16", 2), "int64": ("I64", 8), "uint8": ("U8", 1), "bool": ("BOOL", 1)}
Json = Any


class Refused(Exception):
    """One of the two said no."""


class Stream:
    """Messages over one connection."""

    def __init__(self, connection: socket.socket, stall: float = 20) -> None:
        self._connection = connection
        connection.settimeout(stall / 5)

    def send(self, message: bytes) -> None:
        if message:
            self._connection.sendall(HEAD.pack(MESSAGE, len(message)) + message)

    def receive(self, length: int) -> bytes:
        kind, told = HEAD.unpack(self._take(HEAD.size)) if length else (MESSAGE, 0)
        while kind == HERE:
            kind, told = HEAD.unpack(self._take(HEAD.size))
        if (kind, told) != (MESSAGE, length):
            raise Refused(f"part {kind} of {told} bytes came where a message of {length} was due")
        return self._take(length)

    def close(self) -> None:
        """Goodbye, and listen until the other end hangs up."""
        self._connection.sendall(HEAD.pack(GOODBYE, 0))
        self._connection.shutdown(socket.SHUT_WR)
        while self._connection.recv(1 << 16):
            pass
        self._connection.close()

    def _take(self, count: int) -> bytes:
        taken = bytearray()
        while len(taken) < count:
            try:
                part = self._connection.recv(count - len(taken))
            except TimeoutError:
                self._connection.sendall(HEAD.pack(HERE, 0))
                continue
            if not part:
                raise Refused("the peer's process is gone")
            taken += part
        return bytes(taken)


class Tensor(NamedTuple):
    """A contiguous tensor, unless a stride is told; `memory` is what it views, so that ties are told by identity."""

    dtype: str
    shape: tuple[int, ...]
    memory: bytes
    offset: int = 0
    stride: tuple[int, ...] | None = None

    def strides(self) -> list[int]:
        found, step = [], 1
        for size in reversed(self.shape):
            found.insert(0, step)
            step *= max(size, 1)
        return list(found if self.stride is None else self.stride)


class AsWritten(NamedTuple):
    """A value that this implementation keeps as it was written."""

    written: Json


def digest(raw: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(raw, seed=0)


def canonical(node: Json) -> bytes:
    return json.dumps(node, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def identity(step: int, manifest: Json, chunks: Sequence[str]) -> Json:
    schema = digest(canonical(manifest["schema"]))
    return {
        "step": step,
        "schema_digest": schema,
        "state_digest": digest(canonical([schema, manifest["values"], list(chunks)])),
    }


def send_frame(stream: Stream, kind: int, said: Json) -> None:
    header = json.dumps(said).encode()
    stream.send(PREFIX.pack(b"CKHW", 1, kind, len(header)))
    stream.send(header)


def receive_frame(stream: Stream, *due: int) -> tuple[int, Json]:
    magic, version, kind, length = PREFIX.unpack(stream.receive(PREFIX.size))
    if (magic, version) != (b"CKHW", 1) or length > HEADER_LIMIT:
        raise Refused("no frame of this wire")
    said = json.loads(stream.receive(length))
    if kind == REFUSE:
        raise Refused(f"{said['reason']}: {said['message']}")
    if kind not in due:
        raise Refused(f"kind {kind} came, {due} was due")
    return kind, said


@dataclass
class Telling:
    """What the walk through a state finds."""

    forms: list[Json] = field(default_factory=list)
    tensors: Json = field(default_factory=lambda: {"paths": [], "forms": [], "regions": [], "offsets": []})
    regions: Json = field(default_factory=lambda: {"dtypes": [], "nbytes": []})
    memories: list[bytes] = field(default_factory=list)
    values: list[Json] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def node(self, thing: Any, path: str) -> Json:
        match thing:
            case Tensor():
                return {"T": self._number(thing, path)}
            case dict():
                tag = {OrderedDict: "od", Counter: "ct"}.get(type(thing), "d")
                pairs = [[value(key), self.node(each, under(path, key))] for key, each in thing.items()]
                return {tag: [each for row in in_rows(pairs, 1) for each in named_run(row)]}
            case list() | tuple():
                tag = "l" if isinstance(thing, list) else "t"
                nodes = [[self.node(each, under(path, at))] for at, each in enumerate(thing)]
                return {tag: [each for row in in_rows(nodes, 0) for each in run(row)]}
        self.values.append(value(thing))
        self.paths.append(path)
        return {"V": len(self.values) - 1}

    def _number(self, tensor: Tensor, path: str) -> int:
        form = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "stride": tensor.strides(),
            "kind": "tensor",
            "requires_grad": False,
            "placement": None,
        }
        if form not in self.forms:
            self.forms.append(form)
        columns = {
            "paths": path,
            "forms": self.forms.index(form),
            "regions": self._region(tensor),
            "offsets": tensor.offset,
        }
        for name, told_of_it in columns.items():
            self.tensors[name].append(told_of_it)
        return len(self.tensors["paths"]) - 1

    def _region(self, tensor: Tensor) -> int:
        for at, memory in enumerate(self.memories):
            if memory is tensor.memory:
                return at
        self.memories.append(tensor.memory)
        self.regions["dtypes"].append(WORDS[tensor.dtype][0])
        self.regions["nbytes"].append(len(tensor.memory))
        return len(self.memories) - 1

    def data(self) -> bytes:
        section = bytearray()
        for place, memory in zip(places(self.regions), self.memories, strict=True):
            section += bytes(place.start - len(section)) + memory
        return bytes(section)


def in_rows(children: Sequence[Json], at: int) -> Iterator[list[Json]]:
    """Children of a container: tensors that follow each other together, any other alone. `at`: where a node stands."""
    row: list[Json] = []
    for child in children:
        text_or_none = at == 0 or isinstance(child[0], str)
        if row and not ("T" in child[at] and "T" in row[-1][at] and text_or_none):
            yield row
            row = []
        row.append(child)
        if not ("T" in child[at] and text_or_none):
            yield row
            row = []
    if row:
        yield row


def named_run(row: list[Json]) -> list[Json]:
    return [[[key for key, _ in row], {"R": row[0][1]["T"]}]] if len(row) >= RUN else row


def run(row: list[Json]) -> list[Json]:
    return [{"R": [row[0][0]["T"], len(row)]}] if len(row) >= RUN else [node for (node,) in row]


def places(regions: Json) -> list[slice]:
    """Where the regions lie in the data section."""
    found, end = [], 0
    for length in regions["nbytes"]:
        start = end + -end % ALIGNMENT
        end = start + length
        found.append(slice(start, end))
    return found


def told(state: Any) -> tuple[Json, bytes]:
    """Its manifest and its data section."""
    telling = Telling()
    tree = telling.node(state, "")
    data = telling.data()
    schema = {
        "tree": tree,
        "forms": telling.forms,
        "tensors": telling.tensors,
        "regions": telling.regions,
        "data_bytes": len(data),
        "value_paths": telling.paths,
    }
    return {"schema": schema, "values": telling.values}, data


def under(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def value(thing: Any) -> Json:
    match thing:
        case None | bool() | str():
            return thing
        case int():
            return {"i": str(thing)}
        case float():
            return {"f": "nan" if thing != thing else thing.hex() if abs(thing) != float("inf") else str(thing)}
        case complex():
            return {"c": [value(thing.real), value(thing.imag)]}
        case bytes():
            return {"b": base64.b64encode(thing).decode()}
        case tuple() if all(type(each) is int for each in thing):
            return {"run": list(thing)}
        case tuple():
            return {"tu": [value(each) for each in thing]}
    raise Refused(f"a {type(thing)} is not told here")


def heard(manifest: Json, data: bytes) -> Any:
    schema = manifest["schema"]
    regions = [data[place] for place in places(schema["regions"])]
    tensors = [_tensor(schema["forms"][form], regions[region], offset) for _, form, region, offset in rows(schema)]

    def node(written: Json) -> Any:
        ((tag, content),) = written.items()
        makers: dict[str, Callable[[], Any]] = {
            "T": lambda: tensors[content],
            "V": lambda: plain(manifest["values"][content]),
            "d": lambda: dict(pairs(content)),
            "od": lambda: OrderedDict(pairs(content)),
            "ct": lambda: Counter(dict(pairs(content))),
            "l": lambda: list(children(content)),
            "t": lambda: tuple(children(content)),
        }
        return makers[tag]()

    def pairs(content: Json) -> Iterator[tuple[Any, Any]]:
        for key, each in content:
            if isinstance(key, list):
                yield from zip(key, tensors[each["R"] :][: len(key)], strict=True)
            else:
                yield plain(key), node(each)

    def children(content: Json) -> Iterator[Any]:
        for each in content:
            if "R" in each:
                first, count = each["R"]
                yield from tensors[first : first + count]
            else:
                yield node(each)

    return node(schema["tree"])


def rows(schema: Json) -> Iterator[tuple[Json, ...]]:
    return zip(*(schema["tensors"][name] for name in ("paths", "forms", "regions", "offsets")), strict=True)


def _tensor(form: Json, region: bytes, offset: int) -> Tensor:
    return Tensor(form["dtype"], tuple(form["shape"]), region, offset, tuple(form["stride"]))


def plain(written: Json) -> Any:
    if not isinstance(written, dict):
        return written
    ((tag, content),) = written.items()
    readers: dict[str, Callable[[], Any]] = {
        "i": lambda: int(content),
        "f": lambda: float.fromhex(content),
        "c": lambda: complex(*(plain(each) for each in content)),
        "b": lambda: base64.b64decode(content),
        "ints": lambda: list(content),
        "run": lambda: tuple(content),
        "tu": lambda: tuple(plain(each) for each in content),
    }
    return readers[tag]() if tag in readers else AsWritten(written)


def give(stream: Stream, state: Any, transfer: Json, chunk_bytes: int = 256, step: int = 0) -> list[int]:
    """As donor; the chunks that were sent. `transfer` is heal and attempt."""
    manifest, data = told(state)
    pieces = [data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)]
    chunks = [digest(each) for each in pieces]
    offer = {
        **transfer,
        "identity": identity(step, manifest, chunks),
        "manifest": manifest,
        "chunk_bytes": chunk_bytes,
        "chunks": chunks,
        "chunk_seconds": 0,
    }
    _, hello = receive_frame(stream, HELLO)
    if {name: hello[name] for name in transfer} != transfer or 1 not in hello["spoken"]:
        send_frame(stream, REFUSE, {"reason": "Abandoned", "message": "another transfer, or another version"})
        raise Refused("another transfer, or another version")
    send_frame(stream, OFFER, offer)
    sent: list[int] = []
    kind, said = receive_frame(stream, WANT)
    while kind == WANT:
        for index in _wanted(said):
            for part in parts(manifest["schema"]["regions"], index * chunk_bytes, len(pieces[index])):
                stream.send(pieces[index][part])
            sent.append(index)
        kind, said = receive_frame(stream, WANT, RECEIPT)
    if said["state_digest"] != offer["identity"]["state_digest"]:
        raise Refused("the recipient has something else")
    return sent


def take(stream: Stream, transfer: Json, runs: int = 1) -> tuple[Any, Json]:
    """As recipient, which wants `runs` chunks at a time (0: all at once); the state, and its identity."""
    send_frame(stream, HELLO, {**transfer, "spoken": [1]})
    _, offer = receive_frame(stream, OFFER)
    chunks, size = offer["chunks"], offer["manifest"]["schema"]["data_bytes"]
    if identity(offer["identity"]["step"], offer["manifest"], chunks) != offer["identity"]:
        send_frame(stream, REFUSE, {"reason": "BytesDiffer", "message": "the offer is not true to itself"})
        raise Refused("the offer is not true to itself")
    data = b""
    for first in range(0, len(chunks), runs or max(len(chunks), 1)):
        end = min(len(chunks), first + (runs or len(chunks)))
        send_frame(stream, WANT, {"ranges": [{"first": first, "end": end}]})
        for index in range(first, end):
            start = index * offer["chunk_bytes"]
            length = min(offer["chunk_bytes"], size - start)
            messages = parts(offer["manifest"]["schema"]["regions"], start, length)
            piece = b"".join(stream.receive(part.stop - part.start) for part in messages)
            if digest(piece) != chunks[index]:
                raise Refused(f"chunk {index} differs")
            data += piece
    if not chunks:
        send_frame(stream, WANT, {"ranges": []})
    send_frame(stream, RECEIPT, {"state_digest": offer["identity"]["state_digest"]})
    return heard(offer["manifest"], data), offer["identity"]


def parts(regions: Json, start: int, length: int) -> list[slice]:
    """The messages that the chunk from `start` on crosses as, counted from its first byte."""
    cuts = [0]
    for place in places(regions):
        low, high = max(start, place.start) - start, min(start + length, place.stop) - start
        if high - low >= LARGE:
            cuts += [low, high]
    return [slice(low, high) for low, high in pairwise([*cuts, length]) if low < high]


def _wanted(want: Json) -> Iterator[int]:
    for each in want["ranges"]:
        yield from range(each["first"], each["end"])
