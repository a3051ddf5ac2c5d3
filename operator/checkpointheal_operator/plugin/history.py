"""Which heals were there, one in a row?

Pure. Must not know how they were read or are drawn.
"""

from collections.abc import Iterable
from typing import NamedTuple

from checkpointheal.contract.seats import pod_name
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.plugin.heal_words import donor, outcome, recipient
from checkpointheal_operator.plugin.pages import Grid, Page, Told
from checkpointheal_operator.plugin.words import age, size

HEADS = ("NAME", "RECIPIENT", "CAUSE", "DONOR", "RUNG", "STEP", "BYTES", "DURATION", "HEALED", "AGE")
HEALED = {"healed": "True", "open": "Unknown"}


class Filter(NamedTuple):
    """Which heals are meant; empty: all."""

    pod: str = ""

    def takes(self, heal: Heal) -> bool:
        """Whether the pod, or that seat of it, received or gave in it."""
        if not self.pod:
            return True
        donors = heal.spec.assignment.donors[:1] if heal.spec.assignment else ()
        seats = {heal.spec.recipient.pod, donor(heal), *(each.pod for each in donors)}
        return self.pod in seats | {pod_name(each) for each in seats}


def page(heals: Iterable[Heal], scope: str, now: float, *, namespaced: bool) -> Page:
    """Newest last, as they happened. `namespaced`: say of each where it is. `scope`: which were asked for, in words."""
    ordered = sorted(heals, key=lambda each: (each.spec.opened_at, each.metadata.name))
    if not ordered:
        return (Told(f"There is no {scope}."),)
    heads = ("NAMESPACE", *HEADS) if namespaced else HEADS
    rows = tuple((each.metadata.namespace, *row(each, now)) if namespaced else row(each, now) for each in ordered)
    return (Grid(heads, rows),)


def row(heal: Heal, now: float) -> tuple[str, ...]:
    """One heal under HEADS."""
    status, assigned = heal.status, heal.spec.assignment
    step = assigned.step if status.step is None and assigned else status.step
    return (
        heal.metadata.name,
        recipient(heal),
        str(heal.spec.cause),
        donor(heal) or "-",
        str(status.rung or "-"),
        "-" if step is None else str(step),
        size(status.transfer.bytes).replace(" ", "") if status.transfer else "-",
        status.duration or "-",
        HEALED.get(outcome(heal), "False"),
        age(now - heal.spec.opened_at),
    )


def unread(sentences: Iterable[str]) -> Page:
    """Those that could not be read: they are there, and not in the table."""
    return tuple(Told(each, "! ", tone="bad") for each in sentences)
