"""An optimizer that somebody made around another one, past torch's own making, is kept and restored as any."""

import torch
from torch import nn

from checkpointheal.trainer.first_update import FirstUpdate
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
