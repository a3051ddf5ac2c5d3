"""How do the jobs of a namespace stand? What is amiss, then each job with its members and heals.

Pure: from what was read to a page, and whether anything is amiss. Must not know how it was read or is drawn.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.seats import pod_of
from checkpointheal_operator.api.base import Condition
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.api.policy import policy_of
from checkpointheal_operator.api.told import is_done
from checkpointheal_operator.core.facts import PodFacts
from checkpointheal_operator.core.holders import holders
from checkpointheal_operator.core.identity import Placed
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.plugin.drill_words import latest
from checkpointheal_operator.plugin.heal_words import is_open, recipient, summary
from checkpointheal_operator.plugin.pages import EMPTY, Block, Grid, Page, Title, Told, Tone, amiss
from checkpointheal_operator.plugin.pod_words import PodStanding, Problem, opted_in, standing_of
from checkpointheal_operator.plugin.remedies import remedy
from checkpointheal_operator.plugin.seen import WRITE_ANEW, Seen
from checkpointheal_operator.plugin.trouble import LOOK_AT_OPERATOR
from checkpointheal_operator.plugin.words import age, counted, listed
from checkpointheal_operator.shell.cluster import HEALS, PODS
from checkpointheal_operator.shell.objects import JobObjects, claims, known_pod

GOOD = {"Training": "True", "Protected": "True", "Degraded": "False"}
"""What a condition should be; of others either is fine."""
APPLY = "apply a CheckpointHeal whose spec.selector.matchLabels are labels of the job's pods"
EXAMPLE = (
    "apiVersion: checkpointheal.dev/v1alpha1",
    "kind: CheckpointHeal",
    "metadata: {name: my-job}",
    "spec: {selector: {matchLabels: {app: my-job}}}",
)


@dataclass(frozen=True)
class Job:
    """One policy with all that belongs to it."""

    policy: CheckpointHeal
    heals: tuple[Heal, ...]
    pods: tuple[PodStanding, ...]
    facts: tuple[PodFacts, ...]
    """The pods that claim a place."""
    name: str
    lacks_pods: bool = False
    """Some may be there that nobody was shown; so with heals."""
    lacks_heals: bool = False

    @property
    def title(self) -> str:
        """As people call it."""
        return f"{self.policy.metadata.namespace}/{self.policy.metadata.name}"

    def members(self) -> tuple[MemberId, ...]:
        """Every place, in order."""
        epoch = self.policy.status.epoch
        known = [each.member for each in self.facts] + [each.member for each in (epoch.members if epoch else ())]
        if not known and not self.policy.spec.layout.replicas:
            return ()
        policy = policy_of(self.policy.spec, known)
        return tuple(sorted({*known})) if policy.is_too_large else policy.members()

    def holder(self, member: MemberId) -> PodFacts | None:
        """Of the pods that claim the place the one that the operator takes for its own."""
        return self._holders.get(member)

    @cached_property
    def _holders(self) -> Mapping[MemberId, PodFacts]:
        return holders(self.facts)


def job_of(policy: CheckpointHeal, seen: Seen) -> Job:
    """What belongs to the policy."""
    pods = seen.pods_of(policy)
    wanted = tuple(known_pod(pod) for pod in pods if opted_in(pod))
    name, facts = claims(JobObjects(policy, pods=wanted))
    standings = tuple(standing_of(pod) for pod in pods)
    return Job(policy, seen.heals_of(policy), standings, facts, name, seen.lacks(PODS), seen.lacks(HEALS))


def jobs_of(seen: Seen) -> tuple[Job, ...]:
    """Every policy with what belongs to it: most of the work, to be done once."""
    return tuple(job_of(policy, seen) for policy in seen.policies)


def problems(seen: Seen, jobs: Sequence[Job] | None = None) -> tuple[Problem, ...]:
    """All that is amiss, the jobs' own facts first; nothing twice. `jobs` are those `seen`, where made already."""
    jobs = jobs_of(seen) if jobs is None else jobs
    found = [problem for job in jobs for problem in _of_conditions(job)]
    if not seen.lacking:
        found += [problem for job in jobs for problem in _of_pods(job)]
        found += _of_strays(seen)
    found += [Problem("", each, WRITE_ANEW) for each in seen.unreadable]
    return tuple(dict.fromkeys(found))


def page(seen: Seen, scope: str, now: float, jobs: Sequence[Job] | None = None) -> Page:
    """Problems first, each with its remedy; then every job. `scope` names where was looked."""
    jobs = jobs_of(seen) if jobs is None else jobs
    return (*_told_problems(problems(seen, jobs), seen), *_nothing(seen, scope), *_jobs(jobs, now))


def _nothing(seen: Seen, scope: str) -> Iterator[Block]:
    if not (seen.policies or seen.unreadable or seen.lacking):
        yield Told(f"There is no CheckpointHeal {scope}.")
        yield Told(APPLY + ":", "-> ", 2)
        yield from (Told(line, indent=5) for line in EXAMPLE)


def _told_problems(found: tuple[Problem, ...], seen: Seen) -> Iterator[Block]:
    for each in seen.lacking:
        yield from amiss(each.sentence, each.fix)
    for problem in found:
        prefix = f"{problem.about}: " if problem.about and not problem.about.startswith("pod ") else ""
        yield from amiss(prefix + problem.sentence, problem.fix)
    if found or seen.lacking:
        yield EMPTY


def _jobs(jobs: Sequence[Job], now: float) -> Iterator[Block]:
    for number, job in enumerate(jobs):
        if number:
            yield EMPTY
        yield from job_page(job, now)


def job_page(job: Job, now: float) -> Iterator[Block]:
    """One job: conditions, members, open heals."""
    yield Title(f"CheckpointHeal {job.title}")
    yield Told(epoch_told(job.policy, now) + (f"; job {job.name}" if job.name else ""), indent=2)
    for each in job.policy.status.conditions:
        yield Told(condition_told(each), f"{each.type:<11}", 2, tone_of(each))
    if (drill := job.policy.status.drill) is not None:
        yield Told(latest(drill, now), "Drill      ", 2)
    if rows := tuple(_row(job, member, now) for member in job.members()):
        yield EMPTY
        yield Grid(("MEMBER", "POD", "NODE", "AGENT", "LATEST HEAL"), rows, 2, folds=True)
    if opened := [each for each in job.heals if is_open(each)]:
        yield EMPTY
        yield Told(f"{counted(len(opened), 'heal is', 'heals are')} open:", indent=2)
        for heal in opened:
            yield Told(f"{recipient(heal)} {summary(heal, now)}", f"{heal.metadata.name}  ", 4)


def epoch_told(policy: CheckpointHeal, now: float) -> str:
    """The membership in a clause."""
    epoch = policy.status.epoch
    if epoch is None or not epoch.number:
        return "no epoch yet"
    if not epoch.open:
        ended = f" for {age(now - epoch.ended_at)}" if epoch.ended_at is not None else ""
        return f"epoch {epoch.number} is over{ended}: {epoch.message}"
    began = f" for {age(now - epoch.began_at)}" if epoch.began_at is not None else ""
    step = "" if epoch.step is None else f", from step {epoch.step}"
    without = f", without {listed([str(each.member) for each in epoch.left_out])}" if epoch.left_out else ""
    return f"epoch {epoch.number}{began}{step}, {counted(len(epoch.members), 'member')}{without}"


def condition_told(condition: Condition) -> str:
    """Yes or no, and why."""
    said = {"True": "yes", "False": "no"}.get(condition.status, "not known yet")
    return f"{said}: {condition.message or condition.reason}"


def tone_of(condition: Condition) -> Tone:
    """Whether it is as it should be."""
    wanted = GOOD.get(condition.type)
    if wanted is None or condition.reason in (Reason.NOT_YET, Reason.ALL_DONE):
        return "plain"
    return "good" if condition.status == wanted else "bad"


def _row(job: Job, member: MemberId, now: float) -> tuple[str, ...]:
    holder = job.holder(member)
    standing = next((each for each in job.pods if holder and each.uid == pod_of(holder.uid)), None)
    latest = next((each for each in reversed(job.heals) if each.spec.recipient.member == member), None)
    told = summary(latest, now) if latest else "?" if job.lacks_heals else "-"
    if holder is None or standing is None:
        return str(member), "?" if job.lacks_pods else "none", "-", "-", told
    return str(member), holder.name, holder.node or "-", standing.agent, told


def _of_pods(job: Job) -> Iterator[Problem]:
    """Of a job that is done, nobody misses any."""
    status = job.policy.status
    if any(is_done(each) for each in status.conditions):
        return
    if not job.pods:
        yield Problem(job.title, "it selects no pod", "compare spec.selector with the labels of the job's pods")
    told = [each.message for each in status.conditions if tone_of(each) == "bad"]
    left = {each.member for each in status.epoch.left_out} if status.epoch and status.epoch.open else set()
    for member in (each for each in job.members() if each not in left and job.holder(each) is None):
        missing = Reason.MEMBER_MISSING.tell(member=member)
        if not any(missing in each for each in told):
            yield Problem(job.title, missing, remedy(Reason.MEMBER_MISSING))
    for pod in job.pods:
        yield from pod.problems
        if pod.opted_in and isinstance(pod.place, Placed) and pod.place.job != job.name:
            other = pod.place.job
            sentence = f"pod {pod.name} belongs to job {other}, not to {job.name}: it is left alone"
            yield Problem(job.title, sentence, f"narrow spec.selector, or give job {other} a CheckpointHeal of its own")


def _of_conditions(job: Job) -> Iterator[Problem]:
    status, metadata = job.policy.status, job.policy.metadata
    if not status.conditions:
        yield Problem(job.title, "the operator has not looked at it yet", LOOK_AT_OPERATOR)
    elif (status.observed_generation or 0) < metadata.generation:
        yield Problem(job.title, "the operator has not seen the latest change of its spec", LOOK_AT_OPERATOR)
    for each in status.conditions:
        if tone_of(each) == "bad":
            fix = remedy(each.reason, heals=any(map(is_open, job.heals)))
            yield Problem(job.title, f"{_flaw(each)}: {each.reason}: {each.message}", fix)


def _flaw(condition: Condition) -> str:
    return {"Training": "not training", "Protected": "not protected"}.get(condition.type, condition.type.lower())


def _of_strays(seen: Seen) -> Iterator[Problem]:
    alone: dict[str, list[str]] = {}
    for pod in filter(opted_in, seen.pods):
        name, unread = str(pod["metadata"]["name"]), seen.unread_of(pod)
        policies = [each.metadata.name for each in seen.policies_of(pod)]
        policies += [each.name for each in unread if each.selector is not None]
        if len(policies) > 1:
            told = listed(policies)
            yield Problem(
                f"pod {name}", f"pod {name} is selected by {told}", "narrow their selectors: one job, one policy"
            )
        elif not policies and not unread:
            alone.setdefault(pod["metadata"].get("namespace", ""), []).append(name)
    for namespace, names in sorted(alone.items()):
        told = listed([*names[:3], f"{len(names) - 3} more"] if len(names) > 3 else names)
        yield Problem(
            namespace, f"no CheckpointHeal selects {told}: nobody answers their restore()", _for_strays(seen, namespace)
        )


def _for_strays(seen: Seen, namespace: str) -> str:
    there = [each.metadata.name for each in seen.policies if each.metadata.namespace == namespace]
    if not there:
        return APPLY
    return f"kubectl checkpointheal explain POD compares the pod's labels with the selector of {listed(there)}"
