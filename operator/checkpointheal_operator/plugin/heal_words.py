"""What does one `Heal` say, in sentences?

Pure: cause, assignment, every candidate, verdict, timings. Must not know who asks.
"""

from collections.abc import Iterator

from checkpointheal_operator.api.base import Condition
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.api.heal_record import HEALED
from checkpointheal_operator.core.reasons import Reason, Rung
from checkpointheal_operator.plugin.words import age, counted, seconds, size

GONE = ("RecipientGone", "AskedAgain")


def is_open(heal: Heal) -> bool:
    """Whether it still waits for its verdict."""
    return heal.status.concluded_at is None


def healed_condition(heal: Heal) -> Condition | None:
    """Its verdict, or how far it is."""
    return next((each for each in heal.status.conditions if each.type == HEALED), None)


def outcome(heal: Heal) -> str:
    """`open`, `healed`, `fell back`, or `dropped` where nobody wants it any more."""
    if is_open(heal):
        return "open"
    verdict = healed_condition(heal)
    if verdict is not None and verdict.status == "True":
        return "healed"
    return "dropped" if verdict is not None and verdict.reason in GONE else "fell back"


def donor(heal: Heal) -> str:
    """Name of the pod that gives; empty where none does."""
    if heal.status.transfer is not None and heal.status.transfer.donor:
        return heal.status.transfer.donor
    return heal.spec.assignment.donors[0].pod if heal.spec.assignment else ""


def recipient(heal: Heal) -> str:
    """Its pod, or its place where no pod was known."""
    return heal.spec.recipient.pod or str(heal.spec.recipient.member)


def summary(heal: Heal, now: float) -> str:
    """How it went, or how it goes, in a clause."""
    if is_open(heal):
        return f"open for {age(now - heal.spec.opened_at)}: {going(heal)}"
    ago = f"{age(now - (heal.status.concluded_at or now))} ago"
    took = f" in {heal.status.duration}" if heal.status.duration else ""
    verdict = healed_condition(heal)
    match outcome(heal):
        case "healed":
            part = heal.status.private_step
            behind = "" if part is None else f", with its private part of step {part}"
            return f"healed {source(heal)}{behind}{took}, {ago}"
        case "dropped":
            return f"dropped ({verdict.reason if verdict else 'nobody asks'}), {ago}"
    return f"fell back to {heal.status.rung or 'a lower rung'}{took}, {ago}"


def source(heal: Heal) -> str:
    """Where its state came from."""
    step = "" if heal.status.step is None else f" at step {heal.status.step}"
    match heal.status.rung:
        case Rung.PEER:
            return f"from {donor(heal) or 'a peer'}{step}"
        case Rung.OWN_MEMORY:
            return f"from its own memory{step}"
        case Rung.CHECKPOINT:
            return "from the job's checkpoint"
        case Rung.FRESH:
            return "afresh"
    return step.strip() or "without a state on record"


def going(heal: Heal) -> str:
    """What an open heal does or waits for."""
    assigned, transfer = heal.spec.assignment, heal.status.transfer
    if assigned is None:
        verdict = healed_condition(heal)
        return verdict.message if verdict and verdict.message else "no donor is assigned yet"
    if transfer is None or transfer.attempt != assigned.attempt or transfer.state == "asking":
        return f"asks {assigned.donors[0].pod} for step {assigned.step} (attempt {assigned.attempt})"
    if transfer.state == "receiving":
        return f"receives step {assigned.step} from {donor(heal)}, {crossed(heal)} (attempt {assigned.attempt})"
    if transfer.state == "failed":
        return f"attempt {assigned.attempt} failed: {transfer.reason} {transfer.message}".rstrip()
    return f"has step {assigned.step} from {donor(heal)}, verified, and waits for the others"


def share(heal: Heal) -> float | None:
    """How much of the state has crossed in the current attempt, from 0 to 1; None where nothing crosses."""
    assigned, transfer = heal.spec.assignment, heal.status.transfer
    if assigned is None:
        return None
    if transfer is None or transfer.attempt != assigned.attempt:
        return 0.0
    if transfer.state == "verified":
        return 1.0
    return min(1.0, transfer.bytes / transfer.total) if transfer.total else 0.0


def crossed(heal: Heal) -> str:
    """So many of so many bytes."""
    transfer = heal.status.transfer
    if transfer is None:
        return "nothing yet"
    if not transfer.total:
        return size(transfer.bytes)
    return f"{transfer.bytes / transfer.total:.0%} of {size(transfer.total)}"


def assignment(heal: Heal) -> str:
    """What was assigned and why."""
    assigned = heal.spec.assignment
    if assigned is None:
        if heal.status.rung is not None and heal.status.rung != Rung.PEER:
            return Reason.NOT_NEEDED.tell(rung=heal.status.rung)
        return "none yet"
    first = (
        f"attempt {assigned.attempt}: step {assigned.step} from {assigned.donors[0].pod}, because {assigned.message}"
    )
    failed = f"; {counted(len(assigned.failed), 'transfer')} failed before" if assigned.failed else ""
    return first + failed


def candidates(heal: Heal) -> Iterator[str]:
    """One sentence per member that was considered: those who may give, in order, then each refusal."""
    assigned = heal.spec.assignment
    for rank, each in enumerate(assigned.donors if assigned else (), start=1):
        may = Reason.ELIGIBLE.tell(member=each.member, step=assigned.step if assigned else "", rank=rank)
        role = "gives" if rank == 1 else "takes over if the one before it is lost"
        yield f"{each.pod}: {role}; {may}"
    told = assigned if assigned is not None and assigned.candidates else heal.status
    for other in told.candidates:
        yield f"not {other.pod or other.member}: {other.reason}, {other.message}"
    for reason, number in sorted(told.more_candidates.items()):
        yield f"not {number} more: {reason}"
    if assigned is not None and not is_open(heal) and not told.candidates:
        yield "why nobody else was chosen was not kept: an older operator assigned it"


def verdict(heal: Heal) -> str:
    """Its end, and why it is that one."""
    found = healed_condition(heal)
    if is_open(heal):
        return f"none yet: {going(heal)}"
    why = f": {found.message}" if found and found.message else ""
    reason = f" ({found.reason})" if found else ""
    return f"{outcome(heal)}{reason}{why}; {source(heal)}"


def timings(heal: Heal) -> tuple[tuple[str, float], ...]:
    """Seconds by phase, in order, as far as they are known. What an attempt that failed took is part of `choose`."""
    spec, status = heal.spec, heal.status
    found = [("restart", spec.opened_at - spec.noticed_at)]
    last = spec.opened_at
    if spec.assignment is not None:
        found.append(("choose", spec.assignment.assigned_at - last))
        last = spec.assignment.assigned_at
    if status.transfer is not None and spec.assignment is not None:
        crossing = status.transfer.hold_seconds, status.transfer.transfer_seconds, status.transfer.verify_seconds
        told = zip(("hold", "transfer", "verify"), crossing, strict=True)
        found += ((name, spent) for name, spent in told if spent or status.transfer.state == "verified")
        last += sum(crossing)
    if status.begun_at is not None:
        found.append(("others", status.begun_at - last))
    if status.applied_seconds is not None:
        found.append(("apply", status.applied_seconds))
    return tuple((name, max(0.0, spent)) for name, spent in found)


def timeline(heal: Heal) -> str:
    """All phases in one line."""
    told = ", ".join(f"{name} {seconds(spent)}" for name, spent in timings(heal))
    return f"{told}; {heal.status.duration} in all" if heal.status.duration else told
