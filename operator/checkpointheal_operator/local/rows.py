"""What is worth showing of each member, in one row?

Pure: from the view to words. Must not know the screen.
"""

from dataclasses import dataclass

from checkpointheal.contract.report import TransferFacts
from checkpointheal_operator.core import moment
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.status import transfer_of
from checkpointheal_operator.core.view import JobView


@dataclass(frozen=True)
class Row:
    """One member, as of one look."""

    member: str
    pod: str
    trainer: str
    step: int | None
    """Its newest sealed generation."""
    rung: str
    """Where its state of this epoch came from, or that it is left out of it."""
    receiving: TransferFacts | None
    """The transfer that runs for it."""


def rows(view: JobView) -> tuple[Row, ...]:
    """One row per member, in order."""
    now = moment.at(view, float("-inf"))
    return tuple(_row(view, now.places[member]) for member in now.members)


def _row(view: JobView, place: Place) -> Row:
    report = place.report
    return Row(
        member=str(place.member),
        pod=place.pod.name if place.pod else "none",
        trainer=_trainer(place),
        step=max((each.step for each in report.generations), default=None) if report else None,
        rung=_rung(view, place),
        receiving=_receiving(view, place),
    )


def _rung(view: JobView, place: Place) -> str:
    if not view.epoch.open:
        return ""
    known = view.epoch.member(place.member)
    return str(known.rung) if known else "left out" if view.epoch.absence(place.member) else ""


def _trainer(place: Place) -> str:
    if place.pod is None:
        return "none"
    if place.pod.finished:
        return "finished"
    if place.pod.terminating:
        return "ending"
    return place.report.trainer.state if place.report else "starting"


def _receiving(view: JobView, place: Place) -> TransferFacts | None:
    for heal in view.heals:
        if heal.is_open and place.pod and heal.pod_uid == place.pod.uid:
            transfer = transfer_of(view, heal)
            return transfer if transfer and transfer.state in ("asking", "receiving") else None
    return None
