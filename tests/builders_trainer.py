"""A trainer's surroundings: an agent that answers by the book, and a model with everything that a state can hold."""

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from checkpointheal import digest
from checkpointheal.arena import Arena
from checkpointheal.contract.trainer import (
    SOCKET_NAME,
    TRAINER_PROTOCOL,
    TRAINER_SAYS,
    PrivateKept,
    PrivateReady,
    Refused,
    Reserve,
    Reserved,
    Restored,
    StoreAsk,
    StoreSaid,
    Wait,
)
from checkpointheal.errors import ArenaDoesNotFit
from checkpointheal.manifest import Described, describe, write_out
from checkpointheal.trainer.forming import Given
from checkpointheal.trainer.parts import declare

SECONDS = 30.0
FAR = 1e6
"""Deadline of an epoch that a test ends and does not leave: then the process of all tests would be ended."""


def given(**parts) -> Given:
    """The generation of these parts."""
    described = describe(declare(parts, {}).replicated_state())
    data = bytearray(described.schema.data_bytes)
    write_out(described, data)
    return Given(described.schema, described.values, memoryview(data))


def state_digest(described: Described) -> str:
    """Of a live state: the same as its generation's."""
    chunks = [digest.digest_bytes(chunk) for chunk in described.chunks(digest.CHUNK_BYTES)]
    return digest.state_digest(digest.schema_digest(described.schema), described.values, chunks)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


class FakeAgent:
    """Owns a real arena and answers over the real socket, one trainer at a time. What it heard is in `heard`."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.arena = directory, Arena.create(directory)
        self.answer: Restored | None = Restored(request=0, epoch=1, step=None, rung="fresh", slot=None)
        self.refusal: Refused | None = None
        self.silent = False
        self.protocol = TRAINER_PROTOCOL
        self.heard: list = []
        self.met: dict[str, bytes] = {}
        self._changed = threading.Condition()
        self._connection: socket.socket | None = None
        self._gone = False
        self.listen()

    def listen(self) -> None:
        (self.directory / SOCKET_NAME).unlink(missing_ok=True)
        self._gone = False
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.directory / SOCKET_NAME))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve, args=(self._server,), daemon=True)
        self._thread.start()

    def vanish(self) -> None:
        """Die; `listen` brings it back."""
        self._gone = True
        (self.directory / SOCKET_NAME).unlink(missing_ok=True)
        self._server.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):  # the trainer may be hanging up now
            if (connection := self._connection) is not None:
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(SECONDS)
        self._server.close()

    def say(self, message) -> None:
        assert self._connection is not None
        self._connection.sendall(message.model_dump_json().encode() + b"\n")

    def wait_until_heard(self, fits: Callable[[object], bool]):
        """The latest fitting word, once there is one."""

        def found():
            return [word for word in self.heard if fits(word)]

        with self._changed:
            assert self._changed.wait_for(found, SECONDS), f"not heard among {self.heard}"
            return found()[-1]

    def heard_of(self, kind: str) -> list:
        return [word for word in self.heard if word.say == kind]

    def names(self, slot: int, epoch: int = 2, **changes) -> None:
        """Answer the next wait with this slot's generation."""
        step, state_digest = self.arena.seals()[slot].step, self.digest_of(slot)
        answer = Restored(request=0, epoch=epoch, step=step, rung="own", slot=slot, state_digest=state_digest)
        self.answer = answer.model_copy(update=changes)

    def digest_of(self, slot: int) -> str:
        """As the agent's shelf computes it."""
        with self.arena.read(slot, pin=False) as reading:
            chunks = [digest.digest_bytes(chunk) for chunk in reading.chunks(digest.CHUNK_BYTES)]
            return digest.state_digest(reading.seal.schema_digest, reading.seal.values, chunks)

    def slot_of(self, step: int) -> int:
        return next(slot for slot, seal in self.arena.seals().items() if seal.step == step)

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                self._connection, _ = server.accept()
            except OSError:
                return
            if self._gone:  # a call that came in as it died
                self._connection.close()
                return
            # The trainer may hang up at any moment, between its word and the answer too.
            with contextlib.suppress(OSError), self._connection, self._connection.makefile("rb") as lines:
                for line in lines:
                    self._hear(TRAINER_SAYS.validate_json(line))
            self._connection = None

    def _hear(self, word) -> None:
        with self._changed:
            self.heard.append(word)
            self._changed.notify_all()
        if self.silent:
            return
        match word:
            case Wait() if self.answer is not None:
                self.say(self.answer.model_copy(update={"request": word.request}))
            case Reserve() if self.refusal is not None:
                self.say(self.refusal)
            case Reserve():
                self.say(self._room(word))
            case PrivateReady():
                self.say(PrivateKept(step=word.step, buddies=0))
            case StoreAsk():
                self.say(self._meet(word))

    def _room(self, ask: Reserve) -> Reserved | Refused:
        try:
            self.arena.reserve(ask.slot_bytes, ask.part_bytes)
        except ArenaDoesNotFit as error:
            return Refused(reason=error.reason, message=str(error), protocol=self.protocol)
        return Reserved(protocol=self.protocol)

    def _meet(self, ask: StoreAsk) -> StoreSaid:
        """The rendezvous of a world of one: nobody else puts anything there."""
        if ask.do == "set":
            self.met[ask.key] = ask.value
        elif ask.do == "add":
            self.met[ask.key] = b"%d" % (int(self.met.get(ask.key, b"0")) + int(ask.value))
        return StoreSaid(number=ask.number, epoch=ask.epoch, value=self.met.get(ask.key))


class Sampler:
    """A data position."""

    def __init__(self) -> None:
        self.position = 0

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state) -> None:
        self.position = state["position"]


OPTIMIZERS = {
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
    "Adam amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "SGD momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    "tensor rate": lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.01), foreach=False),
}
SCHEDULES = {
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=20),
    "milestones": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 4]),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=50),
}


class Training:
    """A small training with dropout, BatchNorm, tied weights, an average of the weights and a schedule."""

    def __init__(self, optimizer: str = "AdamW", schedule: str = "cosine", width: int = 8) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.Linear(width, width, bias=False)
        )
        self.model[3].weight = self.model[0].weight
        self.average = torch.optim.swa_utils.AveragedModel(self.model)
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        self.schedule = SCHEDULES[schedule](self.optimizer)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=2)
        self.data = Sampler()
        self.width = width

    def parts(self) -> dict:
        shared = ("model", "average", "optimizer", "schedule", "scaler")
        return {**{name: getattr(self, name) for name in shared}, "private": {"data": self.data}}

    def step(self) -> None:
        batch = torch.rand(4, self.width) + self.data.position
        self.data.position += 1
        self.optimizer.zero_grad()
        self.scaler.scale(self.model(batch).square().mean()).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.average.update_parameters(self.model)

    def fingerprint(self) -> list:
        """Everything that decides how the training goes on, bit for bit."""
        state = {name: getattr(self, name).state_dict() for name in ("model", "average", "optimizer", "schedule")}
        return [_plain(state), self.scaler.state_dict(), self.data.position, torch.get_rng_state().tolist()]


def _plain(node):
    if isinstance(node, torch.Tensor):
        return node.dtype, tuple(node.shape), node.detach().contiguous().flatten().view(torch.uint8).tolist()
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    return node
