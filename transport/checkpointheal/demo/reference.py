"""A plain PyTorch training script: what the job computes when nothing ever fails.

It trains a small GPT, data parallel over gloo, on the source of Python's standard library, bytes as tokens, with
dropout on and every rank drawing its own shuffled batches. It imports nothing of this project, so that it can bear
witness. With CHECKPOINT_DIR set it saves a `torch.save` checkpoint every CHECKPOINT_EVERY steps and goes on from the
last one.
"""

import argparse
import hashlib
import json
import os
import random
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F  # noqa: N812 its usual name
from torch.nn.parallel import DistributedDataParallel

VOCABULARY = 256


class Block(nn.Module):
    """One transformer layer."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, time, width) to the same."""
        batch, length, width = x.shape
        q, k, v = (
            part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(self.before_attention(x)).split(width, dim=2)
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.dropout if self.training else 0.0)
        x = x + self.join(seen.transpose(1, 2).reshape(batch, length, width))
        deeper: torch.Tensor = self.mlp(self.before_mlp(x))
        return x + deeper


class GPT(nn.Module):
    """Bytes in, logits of the next byte out; input and output embeddings are tied."""

    def __init__(self, layers: int, width: int, heads: int, length: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(VOCABULARY, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(layers)))
        self.last = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        nn.init.normal_(self.token.weight, std=0.02)
        self.head.weight = self.token.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, time) of int64 to (batch, time, VOCABULARY)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        logits: torch.Tensor = self.head(self.last(self.blocks(self.token(tokens) + self.position(places))))
        return logits


class Text:
    """This rank's batches: its own shuffled order over the text's windows, and where in it we are."""

    def __init__(self, rank: int, batch: int, length: int, size: int = 1 << 20) -> None:
        self._data = torch.frombuffer(bytearray(_standard_library(size)), dtype=torch.uint8)
        self._batch, self._length = batch, length
        self._generator = torch.Generator().manual_seed(1000 + rank)
        self._order: torch.Tensor = self._shuffled()
        self._next = 0

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and targets, (batch, length) each."""
        if self._next + self._batch > len(self._order):
            self._order, self._next = self._shuffled(), 0
        starts = self._order[self._next : self._next + self._batch] * self._length
        self._next += self._batch
        rows = torch.stack([self._data[start : start + self._length + 1] for start in starts.tolist()]).long()
        return rows[:, :-1], rows[:, 1:]

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the next batches."""
        return {"order": self._order, "next": self._next, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._order, self._next = state["order"].clone(), state["next"]
        self._generator.set_state(state["generator"].clone())

    def _shuffled(self) -> torch.Tensor:
        return torch.randperm((len(self._data) - 1) // self._length, generator=self._generator)


def _standard_library(size: int) -> bytes:
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = b""
    for file in sorted(folder.glob("*.py")):
        text += file.read_bytes()
        if len(text) >= size:
            break
    return text[:size]


def arguments() -> argparse.Namespace:
    """The command line, the same for both scripts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--out", type=Path, required=True, help="folder for progress and fingerprints")
    return parser.parse_args()


def seed(rank: int) -> None:
    """Streams that differ from rank to rank; the model is made before, so it is the same everywhere."""
    torch.manual_seed(rank + 1)
    random.seed(rank + 1)
    np.random.seed(rank + 1)


def build(options: argparse.Namespace, rank: int) -> tuple[GPT, torch.optim.Optimizer, Any, Text]:
    """Model, optimizer, schedule and batches of one rank."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = GPT(options.layers, options.width, options.heads, options.length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=options.steps)
    seed(rank)
    return model, optimizer, schedule, Text(rank, options.batch, options.length)


def wrapped(model: nn.Module) -> DistributedDataParallel:
    """DDP whose reducer keeps its buckets.

    Without find_unused_parameters it would rebuild them after the first step it sees, so that a job that was restarted
    at step 12 would add its gradients in another order than one that began at step 0.
    """
    return DistributedDataParallel(model, find_unused_parameters=True)


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, schedule: Any, text: Text) -> float:
    """One update; returns the loss."""
    tokens, targets = text.draw()
    loss = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    schedule.step()
    return float(loss.detach())


def tell(out: Path, rank: int, **facts: Any) -> None:
    """One line of progress, for whoever watches."""
    with (out / f"progress-{rank}.jsonl").open("a") as file:
        file.write(json.dumps({"at": time.time(), "pid": os.getpid(), **facts}) + "\n")


def fingerprint(model: nn.Module, optimizer: torch.optim.Optimizer, schedule: Any, text: Text) -> dict[str, str]:
    """SHA-256 of each part of the state, bit for bit."""
    streams = [torch.get_rng_state(), random.getstate(), np.random.get_state()]
    return {
        "model": _hash(model.state_dict()),
        "optimizer": _hash([optimizer.state_dict(), schedule.state_dict()]),
        "random": _hash(streams),
        "data": _hash(text.state_dict()),
    }


def _hash(node: Any) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(node):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(node: Any) -> Iterator[bytes]:
    if isinstance(node, torch.Tensor):
        yield f"{node.dtype}{tuple(node.shape)}".encode()
        yield node.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(node, np.ndarray):
        yield node.tobytes()
    elif isinstance(node, dict):
        for key, value in node.items():
            yield repr(key).encode()
            yield from _pieces(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _pieces(value)
    else:
        yield repr(node).encode()


def save_fingerprint(out: Path, rank: int, parts: dict[str, str]) -> None:
    """For the proof at the end."""
    (out / f"fingerprint-{rank}.json").write_text(json.dumps(parts))


def main() -> None:
    """Train without a net, or with the usual one."""
    options = arguments()
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    model, optimizer, schedule, text = build(options, rank)
    start = _load_checkpoint(model, optimizer, schedule)
    ddp = wrapped(model)
    tell(options.out, rank, event="start", step=start)
    for step in range(start, options.steps):
        loss = train_step(ddp, optimizer, schedule, text)
        tell(options.out, rank, event="step", step=step + 1, loss=loss)
        _save_checkpoint(step + 1, rank, model, optimizer, schedule)
    save_fingerprint(options.out, rank, fingerprint(model, optimizer, schedule, text))
    dist.destroy_process_group()


def _checkpoint() -> Path | None:
    folder = os.environ.get("CHECKPOINT_DIR")
    return Path(folder) / "last.pt" if folder else None


def _save_checkpoint(step: int, rank: int, model: nn.Module, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
    file = _checkpoint()
    if file is None or rank != 0 or step % int(os.environ.get("CHECKPOINT_EVERY", "10")):
        return
    state = {
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
    }
    torch.save(state, file.with_suffix(".tmp"))
    file.with_suffix(".tmp").replace(file)


def _load_checkpoint(model: nn.Module, optimizer: torch.optim.Optimizer, schedule: Any) -> int:
    file = _checkpoint()
    if file is None or not file.exists():
        return 0
    state = torch.load(file, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return int(state["step"])


if __name__ == "__main__":
    main()
