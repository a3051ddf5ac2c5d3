"""What happened, once it is over: one line per heal.

Pure text. Must not know the screen.
"""

from collections.abc import Iterable, Sequence

from checkpointheal_operator.core.phases import PHASES, SeenHeal, phases
from checkpointheal_operator.core.reasons import Reason

HEAD = ("recipient", "donor", "cause", "rung", "step", "bytes", *PHASES[1:])


def summary(heals: Iterable[SeenHeal], *, is_well: bool = True) -> str:
    """A table of all concluded heals; phases in seconds. One sentence where a job that ended well needed none."""
    table = [HEAD, *(_cells(seen) for seen in heals if not seen.heal.is_open)]
    if len(table) == 1:
        return "nobody had to be healed\n" if is_well else ""
    widths = [max(len(row[i]) for row in table) for i in range(len(HEAD))]
    return "".join(_line(row, widths) for row in table)


def donor_of(seen: SeenHeal) -> str | None:
    """The member that gave the state; None where none had to."""
    heal = seen.heal
    if heal.assignment is None or heal.transfer is None:
        return None
    return next((str(peer.member) for peer in heal.assignment.donors if peer.pod == heal.transfer.donor), None)


def _cells(seen: SeenHeal) -> tuple[str, ...]:
    heal, spent = seen.heal, phases(seen)
    return (
        str(heal.recipient),
        donor_of(seen) or "-",
        str(heal.cause),
        str(heal.rung) if heal.reason == Reason.HEALED and heal.rung else heal.reason,
        "-" if seen.step is None else str(seen.step),
        f"{heal.transfer.bytes:,}" if heal.transfer else "-",
        *(f"{spent[name]:.2f}" if name in spent else "-" for name in HEAD[6:]),
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
