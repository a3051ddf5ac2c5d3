"""How did a drill go, in words?

Pure. Must not know who asked for it, nor how it is drawn.
"""

from checkpointheal_operator.api.job_status import DrillStatus, DrillTransfer
from checkpointheal_operator.plugin.pages import Page, Told
from checkpointheal_operator.plugin.remedies import remedy
from checkpointheal_operator.plugin.words import age, seconds, size


def page(drill: DrillStatus) -> Page:
    """One that is over, with what helps."""
    return told(drill) if drill.passed else (*told(drill), Told(remedy(drill.reason), "-> ", 2))


def told(drill: DrillStatus) -> Page:
    """One that is over."""
    head = Told(sentence(drill), tone="good") if drill.passed else Told(sentence(drill), "! ", tone="bad")
    return (head, *_crossing(drill))


def sentence(drill: DrillStatus) -> str:
    """Its outcome, and why."""
    if drill.passed or drill.ended_at is None:
        return drill.message
    return f"{drill.reason}: {drill.message}"


def latest(drill: DrillStatus, now: float) -> str:
    """In a clause: whether a heal would have worked, and when that was seen."""
    if drill.ended_at is None:
        return f"under way for {age(now - drill.began_at)}: {drill.message}"
    return f"{'passed' if drill.passed else 'not passed'} {age(now - drill.ended_at)} ago: {sentence(drill)}"


def _crossing(drill: DrillStatus) -> Page:
    """Whose pods it was, and what it took."""
    if drill.plan is None:
        return ()
    recipient, donor = drill.plan.recipient, drill.plan.donor
    who = Told(f"from {donor.pod} to {recipient.pod}, over {drill.plan.channel}", indent=2)
    transfer = drill.transfer
    if transfer is None or not transfer.bytes:
        return (who,)
    return who, Told(_times(transfer), indent=2)


def _times(transfer: DrillTransfer) -> str:
    whole = transfer.hold_seconds + transfer.transfer_seconds + transfer.verify_seconds
    parts = ", ".join(
        f"{name} {seconds(length)}"
        for name, length in (
            ("hold", transfer.hold_seconds),
            ("transfer", transfer.transfer_seconds),
            ("verify", transfer.verify_seconds),
        )
    )
    rate = f" ({size(round(transfer.bytes / transfer.transfer_seconds))}/s)" if transfer.transfer_seconds else ""
    return f"{size(transfer.bytes)} in {seconds(whole)}: {parts}{rate}"
