"""What every agent should be doing now, read off the records.

Declared state: the same records give the same orders, whoever asks and however often. No clock: an order never
expires by itself, a new decision replaces it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import chain, islice, product
from typing import NamedTuple

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.orders import Assignment, EpochOrder, Orders, Peer
from checkpointheal.contract.seats import pod_of
from checkpointheal_operator.core.amiss import beyond, strange, taken
from checkpointheal_operator.core.decisions import Decision, asked_by, held_by
from checkpointheal_operator.core.drills import drill_order
from checkpointheal_operator.core.epoch_record import EpochMember
from checkpointheal_operator.core.holders import holders
from checkpointheal_operator.core.moment import Moment, at
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.reasons import Reason, Rung
from checkpointheal_operator.core.view import JobView

FIRST_STEPS = 4
"""Of an epoch that each agent tells of: of some of them two have read the same one, however fast they follow."""
KEPT_STEPS = 8
"""Steps whose private parts are worth keeping at most; arenas hold two or three generations each."""


class _Given(NamedTuple):
    """What is found once for all members; assignments and grants by pod UID."""

    everybodys: Orders
    asked: Mapping[str, str]
    assignments: Mapping[str, Assignment]
    grants: Mapping[str, Sequence[Assignment]]


def orders(view: JobView, last: Decision | None = None) -> Mapping[MemberId, Orders]:
    """The orders for the pod that holds each place. A pod that holds none any more has none.

    `last`: what was decided last, of which agents hear why the job is held, and which questions they are to answer.
    """
    moment, asked = at(view, float("-inf")), asked_by(last)
    everybodys = _everybodys(moment, held_by(last)).but(drill=drill_order(moment))
    given = _Given(everybodys, asked, *_running(moment))
    return {member: _orders(moment, moment.places[member], given) for member in moment.members}


def of_holders(view: JobView, last: Decision | None = None) -> Mapping[str, Orders]:
    """The orders of the pods that hold a place, by pod."""
    held = holders(view.pods)
    return {held[member].uid: each for member, each in orders(view, last).items() if member in held}


def of_rivals(view: JobView) -> Mapping[str, Orders]:
    """For pods whose place another one holds, though nobody takes them away: why they wait in vain."""
    places = at(view, float("-inf")).places.values()
    told = {uid: message for place in places for uid, message in taken(place).items()}
    return {uid: withdrawn(Reason.PLACE_TAKEN, message) for uid, message in told.items()}


def of_supernumeraries(view: JobView) -> Mapping[str, Orders]:
    """For pods whose place the layout does not have: why they wait in vain."""
    told = beyond(at(view, float("-inf")))
    return {pod.uid: withdrawn(Reason.NO_ROOM, message) for pod, message in told}


def of_strangers(view: JobView) -> Mapping[str, Orders]:
    """For pods of another job: why they wait in vain."""
    return {each.pod.uid: withdrawn(Reason.OTHER_JOB, strange(each)) for each in view.strangers}


def withdrawn(reason: Reason, message: str, *, hold: bool = False) -> Orders:
    """For an agent whose job is left alone: do nothing, and tell the trainer why."""
    body = Orders(revision=0, withdrawn=True, reason=reason, message=message, hold=hold)
    return body.but(revision=_revision(body))


def _everybodys(moment: Moment, held: str) -> Orders:
    """What is the same for every member."""
    said = {"reason": Reason.HELD, "message": held} if held else {}
    hold = moment.view.policy.fallback == "Hold"
    return Orders(revision=0, keep_steps=_keep_steps(moment), hold=hold, **said)


def _orders(moment: Moment, place: Place, given: _Given) -> Orders:
    uid, drill = place.pod.uid if place.pod else "", given.everybodys.drill
    body = given.everybodys.but(
        epoch=_epoch_order(moment, place),
        assignment=given.assignments.get(uid),
        grants=tuple(given.grants.get(uid, ())),
        drill=drill if drill is not None and uid in (drill.recipient.pod_uid, drill.donors[0].pod_uid) else None,
        buddies=_buddies(moment, place.member),
        private_from=tuple(_private_from(moment, place)),
        restart_trainer=_restart(moment, place),
        question=given.asked.get(uid, ""),
    )
    return body.but(revision=_revision(body))


def _revision(body: Orders) -> int:
    """Other orders, another number: an agent's poll returns when it differs."""
    return int(sha256(body.model_dump_json().encode()).hexdigest()[:12], 16)


def _running(moment: Moment) -> tuple[Mapping[str, Assignment], Mapping[str, Sequence[Assignment]]]:
    """By the recipient's pod what it receives, and by each donor's what it may have to give, in the order of heals."""
    assignments: dict[str, Assignment] = {}
    grants: defaultdict[str, list[Assignment]] = defaultdict(list)
    for heal in () if moment.view.epoch.open else sorted(moment.view.heals, key=lambda heal: heal.name):
        if heal.is_open and heal.assignment is not None:
            assignments.setdefault(heal.assignment.recipient.pod_uid, heal.assignment)
            for uid in dict.fromkeys(donor.pod_uid for donor in heal.assignment.donors):
                grants[uid].append(heal.assignment)
    return assignments, grants


def _epoch_order(moment: Moment, place: Place) -> EpochOrder | None:
    """An open epoch is open only to the very trainer that it was begun with; to any other life it is over."""
    epoch = moment.view.epoch
    if epoch.number == 0:
        return None
    if not epoch.open:
        return _over(moment, epoch.reason, epoch.message)
    if (known := _enrolled(moment, place)) is None:
        message = Reason.NOT_A_MEMBER.tell(member=place.member, epoch=epoch.number)
        return _over(moment, Reason.NOT_A_MEMBER, message)
    return _open(moment, known)


def _enrolled(moment: Moment, place: Place) -> EpochMember | None:
    """What the epoch knows of this very life of the place, as far as it is told which one it is."""
    known = moment.enrolled.get(place.member)
    incarnation = place.report.trainer.incarnation if place.report else None
    if known is None or place.pod is None or place.pod.uid != known.pod_uid:
        return None
    return known if incarnation in (None, known.incarnation) else None


def _over(moment: Moment, reason: str, message: str) -> EpochOrder:
    epoch, deadline = moment.view.epoch.number, moment.view.policy.epoch_end_deadline
    return EpochOrder(epoch=epoch, over=True, reason=reason, message=message, deadline=deadline)


def _open(moment: Moment, known: EpochMember) -> EpochOrder:
    epoch, policy = moment.view.epoch, moment.view.policy
    return EpochOrder(
        epoch=epoch.number,
        over=False,
        reason=epoch.reason,
        message=epoch.message,
        step=epoch.step,
        highest=epoch.highest,
        rung=epoch.rung or "",
        deadline=policy.epoch_end_deadline,
        word_within=policy.word_within,
        incarnation=known.incarnation,
        private_begins=known.private_begins,
        private_step=known.private_step,
        missed_since=known.missed_since,
        leave=epoch.leaving,
        left_out=tuple(each.member for each in epoch.left_out),
        place=moment.seats[known.member],
        host=_host(moment),
        members=len(epoch.members),
        probation=_probation(moment, known.member),
    )


def _probation(moment: Moment, member: MemberId) -> int:
    """Who was healed, and those whose bytes must be the same, tell of all its steps; others of a few.

    By those it is known for good whether the replicas were ever alike.
    """
    policy, tried = moment.view.policy, (each.member.coordinate for each in moment.view.epoch.members if each.trial)
    if member.coordinate in tried or not policy.probation_steps:
        return policy.probation_steps
    return FIRST_STEPS if policy.replicas > 1 else 0


def _host(moment: Moment) -> Peer | None:
    """Of the members of the open epoch always the same one: a survivor where there is one. Never another instead."""
    first = min(moment.view.epoch.members, key=lambda each: (each.rung != Rung.OWN_MEMORY, each.member))
    place = moment.places[first.member]
    return place.peer if place.pod is not None and place.pod.uid == first.pod_uid else None


def _buddies(moment: Moment, member: MemberId) -> tuple[Peer, ...]:
    """The nearest others that can be named, in as many other pods as there are.

    Who is left out of the epoch is asked last, for it may be gone.
    """
    own, away = moment.places[member].pod, {each.member for each in moment.view.epoch.left_out}
    if moment.peers.keys() <= {member}:  # as right behind a change of the leader: each would look at all others
        return ()
    present = (each for each in _nearest(moment, member) if each not in away)
    absent = (each for each in _nearest(moment, member) if each in away)
    named = ((moment.peers[each] for each in group if each in moment.peers) for group in (present, absent))
    apart = chain.from_iterable(_apart(pod_of(own.uid) if own else "", peers) for peers in named)
    return tuple(islice(apart, moment.view.policy.buddies))


def _apart(own: str, peers: Iterable[Peer]) -> Iterator[Peer]:
    """One of each other pod before a second of any: a pod is lost with all its seats. The own pod's come last."""
    taken, beside, home = set[str](), list[Peer](), list[Peer]()
    for peer in peers:
        pod = pod_of(peer.pod_uid)
        if pod == own:
            home.append(peer)
        elif pod in taken:
            beside.append(peer)
        else:
            taken.add(pod)
            yield peer
    yield from (*beside, *home)


def _nearest(moment: Moment, member: MemberId) -> Iterator[MemberId]:
    """The next replicas of the same rank, in a ring; then other ranks, other replicas first."""
    replicas, ranks = moment.view.policy.replicas, moment.view.policy.ranks
    around, turns = range(1, replicas), range(1, ranks)
    ways = chain(((each, 0) for each in around), product(around, turns), ((0, turn) for turn in turns))
    for far, turn in ways:
        yield MemberId(replica=(member.replica + far) % replicas, rank=(member.rank + turn) % ranks)


def _keep_steps(moment: Moment) -> tuple[int, ...]:
    """Every step that some arena could still restore, the highest ones where they are many.

    And the earlier ones that stand beside the latest restore step: it may be gone back to again.
    """
    steps = {step for held in moment.held.values() for step in held}
    return tuple(sorted({*sorted(steps)[-KEPT_STEPS:], *moment.view.epoch.behind.values()}))


def _private_from(moment: Moment, place: Place) -> Iterator[Peer]:
    known = moment.enrolled.get(place.member)
    if known is None or not moment.view.epoch.open:
        return
    for uid in known.private_from:
        peer = moment.holding[uid].peer if uid in moment.holding else None
        if peer is not None:
            yield peer


def _restart(moment: Moment, place: Place) -> str | None:
    incarnation = place.report.trainer.incarnation if place.report else None
    return incarnation if incarnation in moment.view.epoch.restarts else None
