"""Who stands where right now: the view, indexed by place and by pod, with the time at which it is read.

Built once per decision so that every rule asks in constant time. Knows no rule itself.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.orders import Peer
from checkpointheal.contract.report import AgentReport, Generation
from checkpointheal.contract.seats import pod_of
from checkpointheal_operator.core.epoch_record import EpochMember
from checkpointheal_operator.core.facts import Heard, PodFacts
from checkpointheal_operator.core.holders import claim
from checkpointheal_operator.core.place import Place, has_finished
from checkpointheal_operator.core.view import JobView


@dataclass(frozen=True)
class Moment:
    """The view at `now`."""

    view: JobView
    now: float
    heard: Mapping[str, Heard]
    places: Mapping[MemberId, Place]
    members: tuple[MemberId, ...]

    def has_room_for(self, member: MemberId) -> bool:
        """Whether the layout has that place: a pod that claims another one is not the job's."""
        return member.replica < self.view.policy.replicas and member.rank < self.view.policy.ranks

    def is_fresh(self, pod_uid: str) -> bool:
        """Whether that pod's agent spoke within the silence that policy allows."""
        heard = self.heard.get(pod_uid)
        return heard is not None and self.now < heard.at + self.view.policy.agent_silence

    def report_due(self, pod: PodFacts) -> float:
        """Until when the agent of a live pod may take to report to this leader for the first time."""
        return max(self.view.leader_since, pod.seen_since) + self.view.policy.report_deadline

    def written_at(self, when: float) -> float:
        """A time of the records. One that is not yet is of a leader whose clock is ahead: it is as old as this one."""
        return when if when <= self.now else self.view.leader_since

    def said_done(self, known: EpochMember) -> bool:
        """Whether the last word of that pod was that training is over, and still counts."""
        heard = self.heard.get(known.pod_uid)
        return heard is not None and has_finished(heard.report.trainer) and not self.has_begun_anew

    @cached_property
    def has_begun_anew(self) -> bool:
        """All of the latest epoch were done, and one of their places has another pod, which is at work.

        Then nobody's last word says any more that it is not waited for.
        """
        known = {each.member: each.pod_uid for each in self.view.epoch.members}
        if not any(pod.is_at_work and known.get(pod.member, pod.uid) != pod.uid for pod in self.view.pods):
            return False
        over = {pod.uid for pod in self.view.pods if pod.finished}
        over |= {uid for uid, heard in self.heard.items() if has_finished(heard.report.trainer)}
        return over.issuperset(known.values())

    @cached_property
    def unseen_epoch(self) -> int:
        """In which all train though the records know of none, as where the policy was made anew; else 0."""
        if self.view.epoch.number:
            return 0
        trains = {_trains_in(self.places[member]) for member in self.members}
        return trains.pop() if len(trains) == 1 else 0

    def awaited_until(self, place: Place) -> float | None:
        """Until when the agent of the pod in this place may have its first word with this leader; None: it had it."""
        if place.pod is None or place.pod.finished or place.heard is not None:
            return None
        until = self.report_due(place.pod)
        return until if self.now < until else None

    def age(self, heard: Heard) -> float:
        """Seconds since it was heard."""
        return max(0.0, self.now - heard.at)

    def generations(self, report: AgentReport | None) -> Mapping[int, Generation]:
        """The report's generations by step, without those of a past that an epoch went back behind, or is to."""
        kept: dict[int, Generation] = {}
        given = self._given.get(report.pod_uid) if report else None
        for each in sorted(report.generations if report else (), key=lambda held: _worth(held, given)):
            if not self._is_abandoned(each) and not (report and self._is_of_another_past(each, report.member)):
                kept[each.step] = each
        return kept

    @cached_property
    def held(self) -> Mapping[MemberId, Mapping[int, Generation]]:
        """The generations of each place's pod, by step; asked for each step and each member."""
        return {member: self.generations(place.report) for member, place in self.places.items()}

    @cached_property
    def holding(self) -> Mapping[str, Place]:
        """The places that are held, by the UID of the pod that holds each."""
        return {place.pod.uid: place for place in self.places.values() if place.pod}

    @cached_property
    def kept(self) -> Mapping[MemberId, Mapping[str, frozenset[int]]]:
        """Of which steps others that can give keep each member's private parts, by the UID of their pods."""
        found: defaultdict[MemberId, dict[str, frozenset[int]]] = defaultdict(dict)
        for place in (self.places[each] for each in self.members):
            if place.pod is None or place.report is None or not place.can_give:
                continue
            for held in place.report.private_held:
                if held.member != place.member:
                    before = found[held.member].get(place.pod.uid, frozenset())
                    found[held.member][place.pod.uid] = before | frozenset(held.steps)
        return found

    @cached_property
    def enrolled(self) -> Mapping[MemberId, EpochMember]:
        """The members of the latest epoch."""
        return {each.member: each for each in self.view.epoch.members}

    @cached_property
    def peers(self) -> Mapping[MemberId, Peer]:
        """Who can keep something for others, each by the very start of its agent: the next one keeps nothing."""
        return {
            member: peer.but(start=place.report.agent)
            for member, place in self.places.items()
            if (peer := place.peer) is not None and place.report is not None
        }

    @cached_property
    def seats(self) -> Mapping[MemberId, int]:
        """The number of each member of the latest epoch among all that are in it, from 0 on."""
        return {member: seat for seat, member in enumerate(sorted(self.enrolled))}

    @cached_property
    def holding_back(self) -> PodFacts | None:
        """The pod of the first place that may hold back those after it; asked for each place that nobody holds.

        Not where a later one is as old: pods that are made in order come one after the other. (So one that was made
        anew before an older one is not found, which tells nothing: a set that makes all at once looks the same.)
        """
        pods = [pod for member in self.members if (pod := self.places[member].pod) is not None]
        first = next((pod for pod in pods if pod.holds_back), None)
        later = (pod for pod in pods if first is not None and pod_of(pod.uid) != pod_of(first.uid))
        if first is None or any(pod.member > first.member and pod.seen_since <= first.seen_since for pod in later):
            return None
        return first

    @cached_property
    def _given(self) -> Mapping[str, Identity]:
        """By pod, what its open heal has it receive."""
        return {heal.pod_uid: heal.assignment.identity for heal in self.view.heals if heal.is_open and heal.assignment}

    def _is_abandoned(self, generation: Generation) -> bool:
        """Where the records do not say how the latest epoch began, nothing is given up for it."""
        epoch = self.view.epoch
        if epoch.sound is not None and generation.step > epoch.sound:
            return True
        if epoch.rung is None or generation.epoch is None or generation.epoch >= epoch.number:
            return False
        return epoch.step is None or generation.step > epoch.step

    def _is_of_another_past(self, generation: Generation, member: MemberId) -> bool:
        """What a member sealed before the others went on without it, of steps that they computed without it."""
        left = self.view.epoch.absence(member)
        if left is None or generation.epoch is None:
            return False
        return generation.epoch < left.epoch and not left.saw(generation.step)


def _trains_in(place: Place) -> int:
    trains = place.fresh and place.report is not None and place.report.trainer.state == "training"
    return place.report.trainer.epoch if place.report is not None and trains else 0


def at(view: JobView, now: float) -> Moment:
    """Index `view`."""
    heard: dict[str, Heard] = {}
    for each in sorted(view.heard, key=lambda h: (h.at, h.report.agent, h.report.sequence)):
        heard[each.report.pod_uid] = each
    pods: dict[MemberId, list[PodFacts]] = {member: [] for member in view.policy.members()}
    for pod in sorted(view.pods, key=claim):
        pods.setdefault(pod.member, []).append(pod)
    for known in view.epoch.members:
        pods.setdefault(known.member, [])
    moment = Moment(view, now, heard, {}, view.policy.members())
    places = {member: _place(moment, member, claims) for member, claims in pods.items()}
    return Moment(view, now, heard, places, moment.members)


def _place(moment: Moment, member: MemberId, claims: list[PodFacts]) -> Place:
    if not claims:
        return Place(member, was_done=_was_done(moment, member) or _is_over(moment.view))
    *others, pod = claims
    leaves = pod.terminating and moment.view.epoch.is_anew
    return Place(member, pod, tuple(others), moment.heard.get(pod.uid), moment.is_fresh(pod.uid), leaves=leaves)


def _was_done(moment: Moment, member: MemberId) -> bool:
    """Whether the last word of the pod that is gone was that training is over: then nobody is missed."""
    known = moment.enrolled.get(member)
    return known is not None and moment.said_done(known)


def _is_over(view: JobView) -> bool:
    """A pod that is still at work, or anew, makes it a job like any other."""
    return view.was_done and not any(pod.is_at_work for pod in view.pods)


def _worth(generation: Generation, given: Identity | None) -> tuple[int, bool, bool, int, str]:
    """Of two seals of one step the digested counts, then what a peer gave: that is there because the other was refused.

    Then the later one.
    """
    digest = generation.state_digest
    was_given = given is not None and generation.identity == given
    return generation.step, digest is not None, was_given, generation.epoch or 0, digest or ""
