"""What has happened between two looks, one line each?

Pure. Must not know how often is looked.
"""

from collections.abc import Iterator

from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.plugin.heal_words import assignment, going, is_open, recipient, share, summary
from checkpointheal_operator.plugin.seen import Seen
from checkpointheal_operator.plugin.standing import condition_told, epoch_told

STEPS = 10
"""Parts of a transfer that are told one by one."""


def first(seen: Seen, now: float) -> Iterator[str]:
    """How things stand when nothing was known before."""
    yield from seen.unreadable
    if not (seen.policies or seen.unread):
        yield "there is no CheckpointHeal here yet: waiting for one"
    for policy in seen.policies:
        yield f"{_title(policy)}: {epoch_told(policy, now)}"
    for heal in seen.heals:
        if is_open(heal):
            yield f"{_heal(heal)}: {summary(heal, now)}"


def news(before: Seen, after: Seen, now: float) -> Iterator[str]:
    """What is another way than before."""
    known = {each.metadata.uid: each for each in before.policies}
    there = {each.metadata.uid for each in after.policies}
    for policy in after.policies:
        yield from _of_policy(known.get(policy.metadata.uid), policy, now)
    for policy in before.policies:
        if policy.metadata.uid not in there:
            yield f"{_title(policy)}: it was deleted"
    heals = {each.metadata.uid: each for each in before.heals}
    for heal in sorted(after.heals, key=lambda each: each.spec.opened_at):
        yield from _of_heal(heals.get(heal.metadata.uid), heal, now)


def _of_policy(old: CheckpointHeal | None, new: CheckpointHeal, now: float) -> Iterator[str]:
    if old is None:
        yield f"{_title(new)}: {epoch_told(new, now)}"
        return
    was, epoch = old.status.epoch, new.status.epoch
    if epoch is not None and (was is None or (was.number, was.open) != (epoch.number, epoch.open)):
        yield f"{_title(new)}: {epoch_told(new, now)}"
    states = {each.type: (each.status, each.reason) for each in old.status.conditions}
    for each in new.status.conditions:
        if each.type != "Training" and states.get(each.type, (each.status, each.reason)) != (each.status, each.reason):
            yield f"{_title(new)}: {each.type}: {condition_told(each)}"


def _of_heal(old: Heal | None, new: Heal, now: float) -> Iterator[str]:
    if old is None and not is_open(new):
        return
    if old is None:
        yield f"{_heal(new)}: opened, {new.spec.cause}: {new.spec.message}".rstrip(": ")
    attempts = [each.spec.assignment.attempt if each and each.spec.assignment else 0 for each in (old, new)]
    if attempts[0] != attempts[1]:
        yield f"{_heal(new)}: {assignment(new)}"
    if old is not None and is_open(old) and not is_open(new):
        yield f"{_heal(new)}: {summary(new, now)}"
    elif is_open(new) and old is not None and _part(old) != _part(new):
        yield f"{_heal(new)}: {going(new)}"


def _part(heal: Heal) -> tuple[str, int]:
    transfer = heal.status.transfer
    return transfer.state if transfer else "", int((share(heal) or 0.0) * STEPS)


def _title(policy: CheckpointHeal) -> str:
    return f"{policy.metadata.namespace}/{policy.metadata.name}"


def _heal(heal: Heal) -> str:
    return f"{heal.metadata.namespace}/{recipient(heal)} ({heal.metadata.name})"
