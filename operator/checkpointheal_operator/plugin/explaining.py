"""Why does a pod stand as it does, and why was its latest heal as it was?

Pure: from what was read to a page. Must not know how it was read or is drawn.
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence

from checkpointheal.contract.seats import Seats, pod_name, pod_of
from checkpointheal_operator.api.base import Json, seconds_of
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.api.policy import matches
from checkpointheal_operator.core.identity import Placed
from checkpointheal_operator.plugin.heal_words import assignment, candidates, outcome, timeline, verdict
from checkpointheal_operator.plugin.pages import EMPTY, FLAW, MENDS, Block, Page, Title, Told, Tone, amiss
from checkpointheal_operator.plugin.pod_words import PodStanding, standing_of
from checkpointheal_operator.plugin.seen import WRITE_ANEW, Seen
from checkpointheal_operator.plugin.standing import APPLY, Job, condition_told, epoch_told, job_of
from checkpointheal_operator.plugin.words import age, counted, listed
from checkpointheal_operator.shell.cluster import HEALS

NEAR = 3
EVENTS_TOLD = 8
TONES: dict[str, Tone] = {"healed": "good", "fell back": "bad"}


def page(pod: Json, seen: Seen, events: Sequence[Json], now: float) -> Page:
    """The pod, its policy, its latest heal, and what was said about it."""
    policies = seen.policies_of(pod)
    job = job_of(policies[0], seen) if policies else None
    standing = standing_of(pod)
    heals = heals_about(standing, seen)
    return (
        *_pod(standing, job, seen),
        *_policy(pod, policies, seen, now),
        *(_heal(heals[-1], len(heals), now) if heals else _no_heal(standing, seen)),
        *_events(events, now),
    )


def is_amiss(page: Page) -> bool:
    """Whether it names anything about the pod that is to be mended."""
    return any(isinstance(each, Told) and each.head in (FLAW, MENDS) for each in page)


def heals_about(standing: PodStanding, seen: Seen) -> tuple[Heal, ...]:
    """Those in which it was the recipient, oldest first: this pod's, else those of earlier pods of its name."""
    there = [each for each in seen.heals if each.metadata.namespace == standing.namespace]
    mine = [each for each in there if pod_of(each.spec.recipient.pod_uid) == standing.uid]
    named = [each for each in there if pod_name(each.spec.recipient.pod) == standing.name]
    return tuple(sorted(mine or named, key=lambda each: each.spec.opened_at))


def nearest(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """Names that begin like it, else names that look like it, best first."""
    there = sorted(set(names))
    longer = [each for each in there if each.startswith(name)]
    return tuple(longer[:NEAR] or difflib.get_close_matches(name, there, n=NEAR, cutoff=0.6))


def _pod(standing: PodStanding, job: Job | None, seen: Seen) -> Iterator[Block]:
    yield Title(f"Pod {standing.namespace}/{standing.name}")
    yield _line("state", f"{standing.phase} on node {standing.node}")
    yield _line("opted in", "yes" if standing.opted_in else "no")
    yield _line("agent", f"{standing.agent}; {standing.injection}")
    yield _line("place", _place(standing, job))
    for each in standing.problems:
        yield from amiss(each.sentence, each.fix, 2)
    for lack in seen.lacking:
        yield from amiss(lack.sentence, lack.fix, 2)
    for sentence in seen.unreadable:
        yield from amiss(sentence, WRITE_ANEW, 2)


def _place(standing: PodStanding, job: Job | None) -> str:
    found = standing.place
    if not isinstance(found, Placed):
        return f"not known: {found.message}"
    said = "by its annotations" if found.source == "annotations" else f"as its {found.source} says"
    told = f"{_members(found.seats)} of job {found.job}, {said}"
    holder = job.holder(found.member) if job else None
    if holder is not None and pod_of(holder.uid) != standing.uid:
        return f"{told}; superseded by pod {pod_name(holder.name)}"
    return told


def _members(seats: Seats) -> str:
    first, *_, last = (seats.member(0), *seats.members)
    return f"member {first}" if seats.count == 1 else f"members {first} to {last}"


def _policy(pod: Json, policies: Sequence[CheckpointHeal], seen: Seen, now: float) -> Iterator[Block]:
    if not policies and (unread := seen.unread_of(pod)):
        takes = "selects it" if all(each.selector for each in unread) else "may select it"
        yield _line("policy", f"{listed([each.name for each in unread])} {takes}, and cannot be read", "bad")
        return
    if not policies:
        yield _line("policy", "no CheckpointHeal selects it: nobody answers its restore()", "bad")
        there = [each for each in seen.policies if each.metadata.namespace == pod["metadata"].get("namespace", "")]
        for policy in there:
            yield Told(f"{policy.metadata.name} wants {unmet(policy, pod)}", MENDS, 4)
        if not there:
            yield Told(APPLY, MENDS, 4)
        return
    names = listed([each.metadata.name for each in policies])
    yield _line("policy", f"{names}: {epoch_told(policies[0], now)}")
    if len(policies) > 1:
        yield Told(f"{counted(len(policies), 'policy', 'policies')} select it: narrow their selectors", FLAW, 2, "bad")
    yield _line("in epoch", _in_epoch(policies[0], str(pod["metadata"]["uid"])))
    for each in policies[0].status.conditions:
        yield _line(each.type.lower(), condition_told(each))


def unmet(policy: CheckpointHeal, pod: Json) -> str:
    """The first requirement of its selector that the pod does not meet, and what the pod has instead."""
    labels = pod["metadata"].get("labels") or {}
    for key, value in sorted(policy.spec.selector.match_labels.items()):
        if labels.get(key) != value:
            return f"{key}={value}, the pod has " + (f"{key}={labels[key]}" if key in labels else f"no {key}")
    for each in policy.spec.selector.match_expressions:
        if not matches(policy.spec.selector.but(match_expressions=(each,)), labels):
            wanted = f"{each.key} {each.operator} {', '.join(each.values)}".rstrip()
            return f"{wanted}, the pod has " + (
                f"{each.key}={labels[each.key]}" if each.key in labels else f"no {each.key}"
            )
    return "pods of another namespace"


def _in_epoch(policy: CheckpointHeal, uid: str) -> str:
    epoch = policy.status.epoch
    known = [each for each in epoch.members if pod_of(each.pod_uid) == uid] if epoch else []
    if epoch is None or not known:
        return "no: it waits for the next one, or has just come"
    members, rungs = (str(each.member) for each in known), dict.fromkeys(str(each.rung) for each in known)
    told = f"yes, as {listed([*members])}, with a state from {listed([*rungs])}"
    steps = policy.spec.probation.steps if epoch.open and any(each.trial for each in known) else 0
    return f"{told}, and its first {counted(steps, 'step')} are compared with its peers'" if steps else told


def _no_heal(standing: PodStanding, seen: Seen) -> Iterator[Block]:
    yield EMPTY
    if seen.lacks(HEALS):
        yield Told(f"Whether a heal was opened for {standing.name} cannot be told: not all could be read.")
        return
    yield Told(f"No heal was ever opened for {standing.name}, or it is no longer kept.")


def _heal(heal: Heal, number: int, now: float) -> Iterator[Block]:
    yield EMPTY
    more = f", the latest of {number}" if number > 1 else ""
    yield Title(f"Heal {heal.metadata.name}, opened {age(now - heal.spec.opened_at)} ago{more}")
    yield _line("cause", f"{heal.spec.cause}: {heal.spec.message}" if heal.spec.message else str(heal.spec.cause))
    yield _line("verdict", verdict(heal), TONES.get(outcome(heal), "plain"))
    yield _line("assignment", assignment(heal))
    for each in candidates(heal):
        yield Told(each, "- ", 4)
    if (transfer := heal.status.transfer) is not None and transfer.state == "failed":
        yield _line("transfer", f"failed: {transfer.reason}: {transfer.message}", "bad")
    if told := timeline(heal):
        yield _line("timings", told)


def _events(events: Sequence[Json], now: float) -> Iterator[Block]:
    if not events:
        return
    yield EMPTY
    yield Title("Events")
    for each in sorted(events, key=_when)[-EVENTS_TOLD:]:
        tone: Tone = "bad" if each.get("type") == "Warning" else "plain"
        ago = age(now - seconds_of(_when(each))) if _when(each) else "?"
        yield Told(f"{each.get('reason', '')}: {each.get('message', '')}", f"{ago:>6} ago  ", 2, tone)


def _when(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def _line(head: str, text: str, tone: Tone = "plain") -> Told:
    return Told(text, f"{head:<11}", 2, tone)
