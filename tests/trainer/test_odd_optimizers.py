"""An optimizer that somebody made around another one, past torch's own making, is kept and restored as any."""

import torch
from torch import nn

from checkpointheal.manifest import describe, write_out
from checkpointheal.trainer.apply import apply, state_digest
from checkpointheal.trainer.first_update import FirstUpdate
from checkpointheal.trainer.forming import Given
from checkpointheal.trainer.parts import declare


class Around(torch.optim.Optimizer):
    """As several libraries do it."""

    def __init__(self, inner) -> None:
        self.inner = inner

    def state_dict(self):
        return self.inner.state_dict()

    def load_state_dict(self, state):
        self.inner.load_state_dict(state)


def test_one_that_is_not_set_up_as_torchs_own_is_not_watched_and_hinders_nothing():
    model = nn.Linear(1, 1)
    parts = declare({"optimizer": Around(torch.optim.SGD(model.parameters(), lr=0.1))}, {})
    first = FirstUpdate(parts)
    first.expect(2, parts.private_state()["trained"])
    assert not first.is_behind(2)
    assert parts.trained == {"optimizer": b""}


def around_one_that_made(steps):
    model = nn.Linear(2, 1)
    optimizer = Around(inner := torch.optim.SGD(model.parameters(), lr=0.1 * (steps + 1), momentum=0.9))
    for _ in range(steps):
        model(torch.ones(1, 2)).sum().backward()
        inner.step()
    return optimizer


def test_one_that_is_not_set_up_as_torchs_own_is_restored_by_its_own_loading():
    described = describe(declare({"optimizer": around_one_that_made(2)}, {}).replicated_state())
    data = bytearray(described.schema.data_bytes)
    write_out(described, data)
    given = Given(described.schema, described.values, memoryview(data))
    for steps in (0, 3):
        target = declare({"optimizer": around_one_that_made(steps)}, {})
        assert apply(target, given) == state_digest(described)
