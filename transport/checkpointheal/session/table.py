"""In which order may things happen in a session?

    donor       Idle -> Holding -> Streaming -> Released
                                   again for every further Want
    recipient   Waiting -> Comparing -> Receiving -> Loaded

Aborted from where the other side may refuse, or the verdict is no. Rules that live here: everything that changes a
session's state. An event that has no place in the table raises and changes nothing. Must not know what it carries.
"""

from collections.abc import Mapping

from checkpointheal.errors import BadFrame

State = str
Event = str
Table = Mapping[State, Mapping[Event, State]]

ABORTED = "Aborted"

DONOR: Table = {
    "Idle": {"Hello": "Holding", "Refuse": ABORTED},
    "Holding": {"Want": "Streaming", "Refuse": ABORTED},
    "Streaming": {"Want": "Streaming", "Receipt": "Released", "Refuse": ABORTED},
    "Released": {},
    ABORTED: {},
}
RECIPIENT: Table = {
    "Waiting": {"Offer": "Comparing", "Refuse": ABORTED},
    "Comparing": {"Compared": "Receiving", "Wanted": "Receiving"},
    "Receiving": {"Wanted": "Receiving", "Arrived": "Receiving", "Verified": "Loaded", "Differed": ABORTED},
    "Loaded": {},
    ABORTED: {},
}


class Walk:
    """One session's way through its table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.state: State = next(iter(table))

    def take(self, event: Event) -> None:
        """Go on. Raises BadFrame, and stays, where the event has no place."""
        if event not in self._table[self.state]:
            expected = " or ".join(sorted(self._table[self.state])) or "nothing"
            raise BadFrame(f"{event} came while {self.state}, where {expected} may come")
        self.state = self._table[self.state][event]
