"""How long is waited for whom, where all that is said is how patient to be?

One number, of which every deadline is a multiple, so that they keep their order on slow machines too; and which orders
of them make no sense. Must not know where they are written down.
"""

from typing import NamedTuple

from checkpointheal.contract.base import Frozen, Seconds

PATIENCE = 5
"""Seconds that a member in good health may be busy with something else, unless somebody says otherwise."""


class Deadlines(Frozen):
    """In seconds."""

    stopped_trainer: Seconds
    agent_silence: Seconds
    report: Seconds
    epoch_end: Seconds
    transfer: Seconds
    go_on_without: Seconds
    restore_budget: Seconds


FIFTHS = {
    "stopped_trainer": 5,
    "agent_silence": 6,
    "report": 10,
    "epoch_end": 10,
    "transfer": 30,
    "go_on_without": 30,
    "restore_budget": 180,
}
"""So many fifths of the patience: whole numbers, for the API server's rules count in those."""


class Order(NamedTuple):
    """One deadline that may not be shorter than another."""

    longer: str
    shorter: str
    because: str


ORDERS = (
    Order("report", "agent_silence", "a new leader would give up agents that it still takes for alive"),
    Order("transfer", "agent_silence", "an attempt would be overdue before its donor is found silent"),
    Order("restore_budget", "stopped_trainer", "who loads its state would be lost before it is found to stand still"),
)


def derive(patience: float) -> Deadlines:
    """All of them."""
    return Deadlines(**{name: fifths * patience / 5 for name, fifths in FIFTHS.items()})
