"""How long did each part of a heal take?

Pure: from the heal's record, and from what else was seen while it lasted, to seconds per phase. The phases follow each
other without a gap, so what is not measured by the agents themselves is the rest up to the next moment on record.

    failure → detect → noticed → restart → asked → choose → assigned → hold, transfer, verify → others → epoch begun
            → apply → rejoin
"""

from dataclasses import dataclass, replace

from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.view import JobView

PHASES = ("detect", "restart", "choose", "hold", "transfer", "verify", "others", "apply", "rejoin")


@dataclass(frozen=True)
class SeenHeal:
    """A heal's record, and what the record has no place for."""

    heal: HealRecord
    step: int | None = None
    """The step at which the job went on with it; None: not yet, or from a checkpoint or afresh."""
    rejoined_seconds: float | None = None
    """How long the member's trainer was in `agree()`; None: it never said."""


def see(before: SeenHeal | None, heal: HealRecord, view: JobView) -> SeenHeal:
    """Add what `view` tells of `heal` to what was seen before."""
    seen = SeenHeal(heal) if before is None else replace(before, heal=heal)
    if heal.epoch is not None and heal.epoch == view.epoch.number:
        seen = replace(seen, step=view.epoch.step)
    for each in view.heard:
        trainer = each.report.trainer
        same = (each.report.pod_uid, trainer.incarnation, trainer.epoch) == (heal.pod_uid, heal.incarnation, heal.epoch)
        if same and trainer.rejoined_seconds is not None:
            return replace(seen, rejoined_seconds=trainer.rejoined_seconds)
    return seen


def phases(seen: SeenHeal, failed_at: float | None = None) -> dict[str, float]:
    """Seconds by phase, in the order of PHASES; a phase that did not happen, or is not over, is left out.

    detect: from the failure, where the caller knows when it was, until the operator found the epoch over.
    restart: until the member's new trainer waited in `restore()` and its heal was written down; most of it is the start
    of a process that loads torch. choose: until donors were assigned, failed attempts before the last one included.
    hold, transfer, verify: as the recipient's agent measured them, from asking the donor to the verdict; only where the
    state came from a peer. others: until every other member waited too and the epoch began. apply: loading the state
    into the live objects. rejoin: `agree()`, the first collective of all ranks.
    """
    heal = seen.heal
    spent = {"restart": heal.opened_at - heal.noticed_at} | _until_begun(heal)
    if failed_at is not None:
        spent["detect"] = heal.noticed_at - failed_at
    if heal.applied_seconds is not None:
        spent["apply"] = heal.applied_seconds
    if seen.rejoined_seconds is not None:
        spent["rejoin"] = seen.rejoined_seconds
    return {name: max(0.0, spent[name]) for name in PHASES if name in spent}


def _until_begun(heal: HealRecord) -> dict[str, float]:
    if heal.assigned_at is None:
        return {} if heal.begun_at is None else {"others": heal.begun_at - heal.opened_at}
    spent, chosen_at = {"choose": heal.assigned_at - heal.opened_at}, heal.assigned_at
    if (transfer := heal.transfer) is not None:
        spent |= {
            "hold": transfer.hold_seconds,
            "transfer": transfer.transfer_seconds,
            "verify": transfer.verify_seconds,
        }
        chosen_at += transfer.hold_seconds + transfer.transfer_seconds + transfer.verify_seconds
    if heal.begun_at is not None:
        spent["others"] = heal.begun_at - chosen_at
    return spent
