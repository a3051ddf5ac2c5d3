"""What is written for each decision, that it is what the core would remember, and when people are told."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from builders_absence import LATER as MUCH_LATER
from builders_absence import a_short_job, back
from builders_api import JOB, WHERE, a_policy, set_pods
from builders_core import (
    NOW,
    a_generation,
    a_job,
    ended,
    m,
    replaced,
    with_all_training,
    with_heard,
    with_received,
    with_report,
    with_transfer,
)
from checkpointheal.contract.report import Passed
from checkpointheal.contract.signals import Signals
from checkpointheal_operator.api.base import second
from checkpointheal_operator.api.epoch_record import epoch_status
from checkpointheal_operator.api.heal import Heal
from checkpointheal_operator.core.decide import decide
from checkpointheal_operator.core.decisions import Assign, Decision, LeaveEpoch, Nothing, Wait
from checkpointheal_operator.core.hearing import remember
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.shell.apply import Desk
from checkpointheal_operator.shell.cluster import (
    CHECKPOINTHEALS,
    EVENTS,
    HEALS,
    PODS,
    AlreadyThere,
    Conflict,
    NotThere,
    Ref,
    Refused,
    TooManyRequests,
    Unreachable,
)
from checkpointheal_operator.shell.gather import Reader, policy_label
from checkpointheal_operator.shell.look import LATER, REFUSED, SOON, pause
from checkpointheal_operator.shell.objects import Listening, view_of
from checkpointheal_operator.shell.telling import LEARNT_EVERY, TOLD_EVERY
from fake_cluster import FakeCluster


def a_cluster(view: JobView, **spec: object) -> FakeCluster:
    """The API server as it stands before the view's first heal."""
    cluster = FakeCluster()
    epoch = epoch_status(view.epoch).body()
    cluster.put(CHECKPOINTHEALS, a_policy(**spec) | {"status": {"epoch": epoch, "job": JOB}})
    set_pods(cluster, *view.pods)
    return cluster


async def desk_of(cluster: FakeCluster) -> Desk:
    return Desk(cluster, await Reader().read(cluster, WHERE, JOB))


async def read(cluster: FakeCluster, view: JobView) -> JobView:
    listening = Listening(view.leader_since, view.heard)
    return view_of(await Reader().read(cluster, WHERE, JOB), listening, NOW)


async def settled(cluster: FakeCluster, view: JobView) -> JobView:
    desk = await desk_of(cluster)
    while not isinstance(decision := decide(view, NOW), Nothing | Wait):
        view = await desk.apply(decision, view, NOW)
    return view


def in_order(view: JobView) -> JobView:
    """In one order."""
    heals = sorted(view.heals, key=lambda each: each.name)
    heard = sorted(view.heard, key=lambda each: each.report.pod_uid)
    pods = sorted(view.pods, key=lambda each: each.uid)
    return view.model_copy(update={"heals": tuple(heals), "heard": tuple(heard), "pods": tuple(pods)})


def changes() -> Iterator[Callable[[JobView], JobView]]:
    yield lambda view: view
    yield _receive
    yield with_all_training


def _receive(view: JobView) -> JobView:
    assert view.heals[0].assignment is not None
    return with_received(view, view.heals[0].assignment)


def test_what_stands_in_the_api_after_a_decision_is_what_the_core_remembers():
    async def go() -> set[str]:
        view = replaced("1/0").model_copy(update={"leader_since": 700.0})
        view = view.model_copy(update={"epoch": view.epoch.model_copy(update={"open": True, "ended_at": None})})
        cluster, made = a_cluster(view), set()
        for change in changes():
            view = change(view)
            while not isinstance(decision := decide(view, NOW), Nothing | Wait):
                made.add(type(decision).__name__)
                view = await (await desk_of(cluster)).apply(decision, view, NOW)
                assert in_order(await read(cluster, view)) == in_order(view), decision
        return made

    assert asyncio.run(go()) == {"EndEpoch", "OpenHeal", "Assign", "BeginEpoch", "Conclude"}


def test_that_who_was_left_out_is_back_stands_in_the_api_and_why_the_epoch_began_does_too():
    async def go() -> None:
        view = back(a_short_job("1/0"), "1/0").model_copy(update={"leader_since": 700.0})
        cluster, decision = a_cluster(view, layout={"minReplicas": 1, "replicas": 3}), decide(view, MUCH_LATER)
        assert isinstance(decision, LeaveEpoch)
        view = await (await desk_of(cluster)).apply(decision, view, MUCH_LATER)
        found = (await Reader().read(cluster, WHERE, JOB)).policy.status.epoch
        assert found is not None
        assert found.open
        assert found.leaving
        assert (found.reason, found.begin_reason) == ("MemberReturns", "GoesOnWithout")
        assert [str(each.member) for each in found.left_out] == ["1/0"]
        assert in_order(await read(cluster, view)).epoch == view.epoch

    asyncio.run(go())


def first(view: JobView) -> Decision:
    decision = decide(view, NOW)
    assert not isinstance(decision, Nothing | Wait)
    return decision


VIEW = replaced("1/0")


def test_a_heal_that_another_operator_opened_is_looked_at_anew():
    async def go() -> None:
        cluster = a_cluster(VIEW)
        await (await desk_of(cluster)).apply(first(VIEW), VIEW, NOW)
        with pytest.raises(Conflict, match="open already"):
            await (await desk_of(cluster)).apply(first(VIEW), VIEW, NOW + 1)

    asyncio.run(go())


def stored_heal(cluster: FakeCluster) -> Heal:
    (heal,) = cluster.all(HEALS)
    return Heal.model_validate(heal)


LONG = "llama-pretraining-cluster-eu-west-4-nightly-2026-12-01-with-long-context"


def test_a_heal_of_a_policy_whose_name_is_too_long_for_a_label_is_opened_too():
    async def go() -> None:
        cluster = a_cluster(VIEW)
        policy = cluster.all(CHECKPOINTHEALS)[0]
        cluster.put(CHECKPOINTHEALS, policy | {"metadata": policy["metadata"] | {"name": LONG, "uid": "long"}})
        desk = Desk(cluster, await Reader().read(cluster, WHERE, LONG))
        await desk.apply(first(VIEW), VIEW, NOW)
        (heal,) = cluster.all(HEALS)
        label = policy_label(LONG)
        assert heal["metadata"]["labels"] == {"checkpointheal.dev/policy": label}
        assert heal["metadata"]["ownerReferences"][0]["name"] == LONG
        assert (len(label), label[:50], label != policy_label(LONG + "s")) == (63, LONG[:50], True)

    asyncio.run(go())


@pytest.mark.parametrize("spoilt", [{"status": {"concludedAt": "1970-01-01T00:16:40.000000Z"}}, {"spec": {}}])
def test_a_heal_that_is_over_or_cannot_be_read_gives_way_to_a_new_one(spoilt):
    async def go() -> None:
        cluster = a_cluster(VIEW)
        await (await desk_of(cluster)).apply(first(VIEW), VIEW, NOW)
        before = stored_heal(cluster)
        cluster.objects[Ref(HEALS, WHERE, before.metadata.name)] |= spoilt
        await (await desk_of(cluster)).apply(first(VIEW), VIEW, NOW + 1)
        after = stored_heal(cluster)
        assert after.metadata.uid != before.metadata.uid
        assert (after.spec.opened_at, after.status.concluded_at) == (NOW + 1, None)

    asyncio.run(go())


def test_a_heal_that_was_edited_into_nonsense_is_left_out_alone_and_gives_way(caplog):
    """The definition takes it, the core does not: its job goes on."""

    async def go() -> None:
        cluster = a_cluster(VIEW)
        desk = await desk_of(cluster)
        view = await desk.apply(first(VIEW), VIEW, NOW)
        await desk.apply(decide(view, NOW), view, NOW)
        before = stored_heal(cluster)
        ref = Ref(HEALS, WHERE, before.metadata.name)
        await cluster.patch(ref, {"spec": {"assignment": {"attempt": 1 << 60, "stateDigest": "unknown"}}})
        assert (await Reader().read(cluster, WHERE, JOB)).heals == {}
        await (await desk_of(cluster)).apply(first(VIEW), VIEW, NOW + 1)
        assert stored_heal(cluster).metadata.uid != before.metadata.uid

    asyncio.run(go())
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("status", [{}, {"concludedAt": "1970-01-01T00:16:40.000000Z"}], ids=["open", "over"])
def test_a_heal_that_a_deleted_policy_left_behind_gives_way_to_that_of_the_one_that_came_after_it(status):
    async def go() -> None:
        cluster = a_cluster(VIEW)
        await (await desk_of(cluster)).apply(first(VIEW), VIEW, NOW)
        (left,) = cluster.all(HEALS)
        del left["metadata"]["ownerReferences"]
        left["status"] = status
        await (await desk_of(cluster)).apply(first(VIEW), VIEW, NOW + 1)
        after = stored_heal(cluster)
        assert (after.metadata.name, after.spec.opened_at) == (left["metadata"]["name"], NOW + 1)
        assert after.metadata.uid != left["metadata"]["uid"]

    asyncio.run(go())


def test_a_heal_of_another_policy_is_not_touched():
    async def go() -> None:
        cluster = a_cluster(VIEW)
        await (await desk_of(cluster)).apply(first(VIEW), VIEW, NOW)
        cluster.all(HEALS)[0]["metadata"]["ownerReferences"][0]["uid"] = "another"
        with pytest.raises(Conflict, match="another CheckpointHeal"):
            await (await desk_of(cluster)).apply(first(VIEW), VIEW, NOW + 1)

    asyncio.run(go())


@pytest.mark.parametrize("changed", [CHECKPOINTHEALS, HEALS])
def test_nothing_is_written_over_what_somebody_else_wrote_since(changed):
    """Two leaders for a moment: the slower one's assignment, and its epoch, are refused."""

    async def go() -> None:
        cluster = a_cluster(VIEW)
        view = await (await desk_of(cluster)).apply(first(VIEW), VIEW, NOW)
        if changed == CHECKPOINTHEALS:
            assigned = await settled(cluster, view)
            assert assigned.heals[0].assignment is not None
            view = with_received(assigned, assigned.heals[0].assignment)
        slow, fast = await desk_of(cluster), await desk_of(cluster)
        await fast.apply(first(view), view, NOW)
        with pytest.raises(Conflict):
            await slow.apply(first(view), view, NOW)

    asyncio.run(go())


def test_an_open_heal_is_told_after_five_seconds_and_again_when_bytes_have_crossed():
    async def go() -> None:
        cluster = a_cluster(VIEW)
        view = await settled(cluster, VIEW)
        desk = await desk_of(cluster)
        assert view.heals[0].assignment is not None
        told: list[tuple[float, int]] = []
        open_since: set[str] = set()
        for after, crossed in [(4.9, 100), (5.0, 200), (9.9, 300), (10.0, 400), (15.0, 400)]:
            view = with_transfer(view, view.heals[0].assignment, "receiving", bytes=crossed)
            before = cluster.calls.count(("patch status of", "heals"))
            await desk.tell(view, NOW + after)
            if cluster.calls.count(("patch status of", "heals")) > before:
                status = stored_heal(cluster).status
                told.append((after, status.transfer.bytes if status.transfer else 0))
                open_since |= {each.last_transition_time for each in status.conditions if each.type == "Healed"}
        assert told == [(5.0, 200), (10.0, 400)]
        assert open_since == {second(NOW + 5)}, "it has been unknown all the time"
        found = {each.type: each.status for each in stored_heal(cluster).status.conditions}
        assert found == {"DonorAssigned": "True", "Transferred": "False", "Verified": "False", "Healed": "Unknown"}
        assert [each.reason for each in stored_heal(cluster).status.candidates] == ["SameMember"]

    asyncio.run(go())


def test_a_new_operator_tells_refusals_that_it_has_never_seen():
    async def go() -> None:
        cluster = a_cluster(VIEW)
        view = await read(cluster, await settled(cluster, VIEW))
        assert [each.reason for each in view.heals[0].refusals] == ["SameMember"]
        bare = view.heals[0].model_copy(update={"refusals": (), "assignment": None})
        view = view.model_copy(update={"heals": (bare,)})
        del cluster.all(HEALS)[0]["spec"]["assignment"]
        await (await desk_of(cluster)).tell(view, NOW + 5)
        assert [each.reason for each in stored_heal(cluster).status.candidates] == ["SameMember"]

    asyncio.run(go())


def test_a_job_is_told_once_while_nothing_changes():
    async def go() -> None:
        cluster = a_cluster(VIEW)
        desk = await desk_of(cluster)
        for after in range(3):
            await desk.tell(VIEW, NOW + after)
        assert cluster.calls == [("patch status of", "checkpointheals")]
        before = {each["type"]: each["lastTransitionTime"] for each in _conditions(cluster)}
        over = ended(VIEW, "2/0", reason="TrainerGone", message="gone")
        await desk.tell(over, NOW + 3)
        assert {each["type"]: each["lastTransitionTime"] for each in _conditions(cluster)} == before

    asyncio.run(go())


def speaking(view: JobView, now: float) -> JobView:
    for each in view.heard:
        view = with_heard(view, each.report.member, at=now)
    return view


def test_of_whom_a_job_waits_for_it_is_told_again_though_not_at_every_look():
    def without(view: JobView, *members: str) -> JobView:
        pods = tuple(each for each in view.pods if str(each.member) not in members)
        heard = tuple(each for each in view.heard if str(each.report.member) not in members)
        return view.model_copy(update={"pods": pods, "heard": heard})

    def degraded(cluster: FakeCluster) -> str:
        return next(each["message"] for each in _conditions(cluster) if each["type"] == "Degraded")

    async def go() -> None:
        cluster, view = a_cluster(a_job(3)), a_job(3)
        for after, gone, told in [
            (0, ("1/0",), ["1/0"]),
            (1, ("1/0", "2/0"), ["1/0"]),
            (TOLD_EVERY, ("1/0", "2/0"), ["1/0", "2/0"]),
            (TOLD_EVERY + 1, ("2/0",), ["1/0", "2/0"]),
            (2 * TOLD_EVERY, ("2/0",), ["2/0"]),
            (9 * TOLD_EVERY, ("2/0",), ["2/0"]),
        ]:
            await (await desk_of(cluster)).tell(without(speaking(view, NOW + after), *gone), NOW + after)
            assert [each for each in ("1/0", "2/0") if f"place of {each}" in degraded(cluster)] == told
        assert cluster.calls == [("patch status of", "checkpointheals")] * 3

    asyncio.run(go())


def test_an_age_alone_is_worth_no_write():
    async def go() -> None:
        cluster, view = a_cluster(a_job()), a_job()
        for after in range(0, 100, 7):
            silent = with_heard(speaking(view, NOW + after), m("1/0"), at=NOW - 60)
            await (await desk_of(cluster)).tell(silent, NOW + after)
        assert "was last heard 60.0 s ago" in _conditions(cluster)[2]["message"]
        assert cluster.calls == [("patch status of", "checkpointheals")]

    asyncio.run(go())


def _conditions(cluster: FakeCluster) -> list[dict[str, str]]:
    return cluster.all(CHECKPOINTHEALS)[0]["status"]["conditions"]


def test_concluded_heals_beyond_the_limit_are_dropped_and_open_ones_never():
    async def go() -> list[str]:
        cluster = a_cluster(VIEW, historyLimit=1)
        view = await settled(cluster, VIEW)
        heal = view.heals[0]
        (template,) = cluster.all(HEALS)
        for number in (1, 2):
            over = template | {"metadata": template["metadata"] | {"name": f"h{number}"}}
            cluster.put(HEALS, over | {"status": {"concludedAt": f"1970-01-01T00:00:0{number}Z"}})
        await (await desk_of(cluster)).tell(await read(cluster, view), NOW)
        names = [each["metadata"]["name"] for each in cluster.all(HEALS)]
        assert heal.name in names
        return [name for name in names if name != heal.name]

    assert asyncio.run(go()) == ["h2"]


def test_the_verdict_is_an_event_of_the_recipients_pod():
    async def go() -> None:
        cluster = a_cluster(VIEW)
        view = await settled(cluster, VIEW)
        assert view.heals[0].assignment is not None
        view = await settled(cluster, with_received(view, view.heals[0].assignment))
        await settled(cluster, with_all_training(view))
        (told,) = cluster.all(EVENTS)
        assert (told["involvedObject"]["name"], told["reason"], told["type"]) == ("new-1-0", "Healed", "Normal")
        assert told["message"] == f"{m('1/0')} trains in epoch 2"
        status = stored_heal(cluster).status
        assert (status.rung, status.step, status.duration) == ("Peer", 10, "1.0s")
        writes = [call for call in cluster.calls if call[1] in ("heals", "events")]
        assert writes == [
            *(("create", "heals"), ("patch", "heals"), ("create", "events"), ("patch status of", "heals")),
        ], "why the others did not give costs no write"
        assert [each.reason for each in status.candidates] == ["SameMember"]

    asyncio.run(go())


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Conflict("x"), SOON),
        (AlreadyThere("x"), SOON),
        (NotThere("x"), SOON),
        (TooManyRequests("x", 7.0), 7.0),
        (Unreachable("x"), LATER),
        (Refused("x"), REFUSED),
    ],
)
def test_each_refusal_has_its_pause_and_its_word(error, seconds):
    assert (pause(error), error.reason) == (seconds, type(error).__name__)


@pytest.mark.parametrize("fate", ["gone", "replaced"])
def test_a_donor_that_is_gone_though_the_view_still_has_it_is_not_assigned(fate):
    async def go() -> None:
        cluster, view = a_cluster(VIEW), VIEW
        desk = await desk_of(cluster)
        while not isinstance(decision := decide(view, NOW), Assign):
            view = await desk.apply(decision, view, NOW)
        donor = decision.assignment.donors[0]
        stood = cluster.objects.pop(Ref(PODS, WHERE, donor.pod))
        if fate == "replaced":
            cluster.put(PODS, stood | {"metadata": stood["metadata"] | {"uid": "another"}})
        with pytest.raises(NotThere if fate == "gone" else Conflict):
            await desk.apply(decision, view, NOW)
        assert stored_heal(cluster).spec.assignment is None

    asyncio.run(go())


def on_probation(view: JobView, *told: Passed) -> JobView:
    """Its first member was healed with the open epoch; each tells of its first step."""
    members = (each.model_copy(update={"trial": int(each.member == m("0/0"))}) for each in view.epoch.members)
    epoch = view.epoch.model_copy(update={"step": 10, "members": tuple(members)})
    for replica, passed in enumerate(told):
        view = with_report(view, m(f"{replica}/0"), passed=(passed,))
    return view.model_copy(update={"epoch": epoch})


def test_a_probation_that_fails_is_a_warning_at_its_pod_and_stands_in_the_epoch():
    async def go() -> None:
        steps = [
            Passed(step=11, epoch=1, schema_digest="5" * 32, state_digest=digest * 32) for digest in ("b", "a", "a")
        ]
        view = on_probation(a_job(), *steps)
        cluster = a_cluster(view)
        ended_by = first(view)
        await (await desk_of(cluster)).apply(ended_by, view, NOW)
        for _ in range(2):
            (told,) = cluster.all(EVENTS)
            assert (told["involvedObject"]["name"], told["reason"]) == ("pod-0-0", "ProbationFailed")
            assert (told["type"], told["message"]) == ("Warning", ended_by.message)
            epoch = (await read(cluster, view)).epoch
            assert (epoch.reason, epoch.sound, epoch.open) == ("ProbationFailed", 10, False)
            assert [each.trial for each in epoch.members] == [1, 0, 0]
            cluster.put(
                CHECKPOINTHEALS, a_policy() | {"status": {"epoch": epoch_status(view.epoch).body(), "job": JOB}}
            )
            await (await desk_of(cluster)).apply(ended_by, view, NOW + 1)

    asyncio.run(go())


def test_numbers_that_are_far_apart_are_told_once_at_the_pod():
    async def go() -> None:
        steps = [Passed(step=11, epoch=1, signals=Signals(loss=loss)) for loss in (99.0, 1.0, 1.0)]
        view = on_probation(a_job(), *steps)
        cluster = a_cluster(view)
        for after in range(3):
            await (await desk_of(cluster)).tell(view, NOW + after)
        (told,) = cluster.all(EVENTS)
        assert (told["involvedObject"]["name"], told["reason"]) == ("pod-0-0", "ProbationDiffers")
        assert cluster.calls.count(("create", "events")) == 1
        assert {each["type"]: each["reason"] for each in _conditions(cluster)}["Degraded"] == "ProbationDiffers"

    asyncio.run(go())


def test_that_members_disagree_is_a_warning_once_and_of_two_nobody_is_protected():
    async def go() -> None:
        view = a_job(replicas=2)
        view = with_report(view, m("1/0"), generations=(a_generation(m("1/0"), 10, state_digest="e" * 32),))
        view = view.model_copy(update={"epoch": view.epoch.model_copy(update={"alike": (0,)})})
        cluster = a_cluster(view)
        for after in range(3):
            await (await desk_of(cluster)).tell(view, NOW + after)
        (told,) = cluster.all(EVENTS)
        assert (told["involvedObject"]["name"], told["type"]) == ("pod-0-0", "Warning")
        assert (told["reason"], cluster.calls.count(("create", "events"))) == ("MembersDisagree", 1)
        conditions = {each["type"]: (each["status"], each["reason"]) for each in _conditions(cluster)}
        assert (conditions["Degraded"], conditions["Protected"][0]) == (("True", "MembersDisagree"), "False")

    asyncio.run(go())


STATUS = ("patch status of", "checkpointheals")


def test_that_members_were_alike_is_written_once_and_another_leader_knows_it():
    async def go() -> None:
        view = a_job(replicas=2)
        cluster = a_cluster(view)
        await (await desk_of(cluster)).tell(view, NOW)
        deaf = view.model_copy(update={"heard": ()})
        assert (await read(cluster, deaf)).epoch.alike == ()
        for after in range(3):
            await (await desk_of(cluster)).tell(remember(view, NOW), NOW + after)
        assert (await read(cluster, deaf)).epoch.alike == (0,)
        assert cluster.calls.count(STATUS) == 2, "its conditions, and what was learnt"

    asyncio.run(go())


def test_what_was_learnt_of_some_coordinates_waits_for_the_others_and_goes_with_the_next_write():
    async def go() -> None:
        view = a_job(replicas=2, ranks=2)
        for each in view.policy.members():
            view = with_heard(view, each, at=NOW + LEARNT_EVERY)
        cluster = a_cluster(view)
        await (await desk_of(cluster)).tell(view, NOW)
        some = view.model_copy(update={"epoch": view.epoch.model_copy(update={"alike": (1,)})})
        await (await desk_of(cluster)).tell(some, NOW + LEARNT_EVERY - 1)
        assert cluster.calls.count(STATUS) == 1
        await (await desk_of(cluster)).tell(some, NOW + LEARNT_EVERY)
        assert cluster.calls.count(STATUS) == 2
        rest = some.model_copy(update={"epoch": view.epoch.model_copy(update={"alike": (1,), "apart": (0,)})})
        await (await desk_of(cluster)).tell(rest, NOW + LEARNT_EVERY + 1)
        known = (await read(cluster, view.model_copy(update={"heard": ()}))).epoch
        assert (known.alike, known.apart) == ((1,), (0,))

    asyncio.run(go())


def test_that_replicas_differ_by_themselves_is_a_warning_once_and_goes_by_itself():
    async def go() -> None:
        view = a_job(replicas=2)
        apart = with_report(view, m("1/0"), generations=(a_generation(m("1/0"), 10, state_digest="e" * 32),))
        cluster = a_cluster(view)
        for after in range(3):
            await (await desk_of(cluster)).tell(apart, NOW + after)
        (told,) = cluster.all(EVENTS)
        assert (told["involvedObject"]["name"], told["type"]) == ("pod-0-0", "Warning")
        assert (told["reason"], "private=" in told["message"]) == ("ReplicasDiffer", True)
        assert cluster.calls.count(("create", "events")) == 1
        conditions = {each["type"]: (each["status"], each["reason"]) for each in _conditions(cluster)}
        assert conditions["Protected"] == ("False", "ReplicasDiffer")
        await (await desk_of(cluster)).tell(view, NOW + 9)
        conditions = {each["type"]: (each["status"], each["reason"]) for each in _conditions(cluster)}
        assert conditions["Protected"] == ("True", "AllWell")

    asyncio.run(go())
