"""What the operator remembers stands in API objects, and comes back from them as it was."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders_core import NOW, a_job, decided, m, replaced, with_received
from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.layout import Identity
from checkpointheal.contract.orders import Assignment, Peer
from checkpointheal.contract.report import TransferFacts
from checkpointheal_operator.api.base import Json, second, seconds_of, timestamp
from checkpointheal_operator.api.definitions import definitions
from checkpointheal_operator.api.epoch_record import epoch_record, epoch_status, remembered, witness
from checkpointheal_operator.api.heal import TOLD_CANDIDATES, Heal
from checkpointheal_operator.api.heal_record import assignment_spec, heal_record, heal_spec, heal_status, with_epoch
from checkpointheal_operator.api.job_status import CheckpointHealStatus, EpochStatus
from checkpointheal_operator.api.told import is_said_otherwise, told
from checkpointheal_operator.core.epoch_record import EpochMember, EpochRecord, LeftOut
from checkpointheal_operator.core.heal_record import HealRecord, Refusal, Remembered
from checkpointheal_operator.core.reasons import Cause, Reason, Rung
from checkpointheal_operator.core.status import Condition as Fact
from checkpointheal_operator.core.status import heal_conditions
from checkpointheal_operator.core.view import JobView
from structural import admit

POLICY_SCHEMA, HEAL_SCHEMA = (each["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for each in definitions())

times = st.integers(0, 4_000_000_000_000_000).map(lambda micros: micros / 1e6)
words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)
members = st.builds(MemberId, replica=st.integers(0, 999), rank=st.integers(0, 999))
steps = st.integers(0, 1 << 40)
lengths = st.floats(0, 1e9)
digests = st.text("0123456789abcdef", min_size=32, max_size=32)
peers = st.builds(
    Peer,
    member=members,
    pod=words,
    pod_uid=words,
    endpoint=st.builds(Endpoint, host=words, port=st.integers(1, 65535)),
)
assignments = st.builds(
    Assignment,
    heal=st.just("heal-1"),
    attempt=st.integers(1, 1 << 40),
    recipient=peers,
    donors=st.lists(peers, min_size=1, max_size=3).map(tuple),
    step=steps,
    schema_digest=digests,
    state_digest=digests,
    deadline=lengths,
    bytes_per_second=st.none() | steps,
    channel=st.sampled_from(["tls", "gloo"]),
)
transfers = st.builds(
    TransferFacts,
    heal=st.just("heal-1"),
    attempt=st.integers(1, 9),
    donor=st.none() | words,
    bytes=steps,
    total=steps,
    reason=words,
    message=words,
    hold_seconds=lengths,
    transfer_seconds=lengths,
    verify_seconds=lengths,
)
refusals = st.builds(
    Refusal, member=members, pod=st.none() | words, reason=st.sampled_from(list(Reason)), message=words
)
epochs = st.builds(
    EpochRecord,
    number=st.integers(1, 1 << 40),
    began_at=st.none() | times,
    ended_at=st.none() | times,
    step=st.none() | steps,
    highest=st.none() | steps,
    rung=st.none() | st.sampled_from(list(Rung)),
    reason=words,
    message=words,
    members=st.lists(
        st.builds(
            EpochMember,
            member=members,
            pod_uid=words,
            agent=words,
            incarnation=words,
            request=steps,
            private_from=st.lists(words, max_size=2).map(tuple),
            private_step=st.none() | steps,
            private_begins=st.booleans(),
            missed_since=steps,
            revision=words,
            trial=st.integers(0, 2),
        ),
        max_size=3,
        unique_by=lambda each: each.member,
    ).map(tuple),
    left_out=st.lists(
        st.builds(LeftOut, member=members, since=steps, epoch=steps), max_size=3, unique_by=lambda each: each.member
    ).map(tuple),
    leaving=st.booleans(),
    lost=st.lists(members, max_size=3).map(tuple),
    sound=st.none() | steps,
    restarts=st.lists(words, max_size=3).map(tuple),
    alike=st.lists(steps, max_size=3).map(tuple),
    apart=st.lists(steps, max_size=3).map(tuple),
)


@st.composite
def heals(draw: st.DrawFn) -> HealRecord:
    """Any heal, open or over, assigned or not."""
    known = {
        "name": "heal-1",
        "recipient": draw(members),
        "pod_uid": draw(words),
        "agent": draw(words),
        "request": draw(steps),
        "incarnation": draw(words),
        "cause": (cause := draw(st.sampled_from(list(Cause)))),
        "crash_step": draw(st.none() | steps),
        "noticed_at": draw(times),
        "opened_at": draw(times),
        "attempts_before": draw(steps),
        "refusals": tuple(draw(st.lists(refusals, max_size=3))),
        "epoch": draw(st.none() | steps),
        "rung": draw(st.none() | st.sampled_from(list(Rung))),
        "begun_at": draw(st.none() | times),
        "reason": str(cause),
        "message": draw(words),
    }
    if draw(st.booleans()):
        known |= {"assignment": draw(assignments), "assigned_at": draw(times), "tries": draw(st.integers(1, 99))}
        known |= {"failed": tuple(draw(st.lists(words, max_size=3))), "reason": draw(words)}
    if draw(st.booleans()):
        known |= {"concluded_at": draw(times), "healed": draw(st.booleans()), "reason": draw(words)}
        known |= {"transfer": draw(st.none() | transfers), "applied_seconds": draw(st.none() | lengths)}
    return HealRecord.model_validate(known)


def stored(body: Json, schema: Json) -> Json:
    """As the API server keeps it: as JSON, defaulted and pruned."""
    return admit(schema, json.loads(json.dumps(body, allow_nan=False)))


def written(record: HealRecord) -> Heal:
    conditions = told(heal_conditions(a_job(), record), (), NOW, 1)
    body = {
        "metadata": {"name": record.name},
        "spec": heal_spec(record, "pod", 1).body(),
        "status": heal_status(record, conditions).body(),
    }
    return Heal.model_validate(stored(body, HEAL_SCHEMA))


@settings(deadline=None)
@given(heals())
def test_a_heal_comes_back_as_it_was(record):
    assert heal_record(written(record)) == record


@settings(deadline=None)
@given(epochs, st.booleans())
def test_an_epoch_comes_back_as_it_was(record, is_open):
    record = record.model_copy(update={"open": is_open})
    body = {"spec": {"selector": {"matchLabels": {"a": "b"}}}, "status": {"epoch": epoch_status(record).body()}}
    status = stored(body, POLICY_SCHEMA)["status"]
    assert epoch_record(CheckpointHealStatus.model_validate(status)) == record


def test_all_that_is_known_of_an_epoch_is_written_down():
    began = {"begin_reason", "begin_message"}
    assert EpochStatus.model_fields.keys() - began == EpochRecord.model_fields.keys()


def test_an_epoch_that_an_older_operator_wrote_says_nothing_of_who_was_ever_alike():
    older = {key: value for key, value in epoch_status(begun().epoch).body().items() if key not in ("alike", "apart")}
    record = epoch_record(CheckpointHealStatus.model_validate({"epoch": older}))
    assert (record.number, record.alike, record.apart) == (2, (), ())


def test_of_a_policy_that_was_never_written_there_was_no_epoch():
    assert epoch_record(CheckpointHealStatus()) == EpochRecord()


@settings(deadline=None)
@given(members, words, words, steps, digests, digests, st.none() | st.booleans())
def test_a_witness_comes_back_as_it_was(member, uid, build, step, schema_digest, state_digest, alike):
    identity = Identity(step=step, schema_digest=schema_digest, state_digest=state_digest)
    last = Remembered(member=member, pod_uid=uid, build=build, identity=identity, alike=alike)
    assert remembered(witness(last)) == last


@settings(deadline=None)
@given(times)
def test_a_time_comes_back_to_the_microsecond(seconds):
    assert seconds_of(timestamp(seconds)) == seconds


def test_the_apis_own_times_have_whole_seconds():
    assert (second(NOW + 0.9), timestamp(NOW + 0.9)) == ("1970-01-01T00:16:40Z", "1970-01-01T00:16:40.900000Z")
    assert seconds_of(second(NOW)) == NOW


def test_refusals_beyond_the_limit_are_counted_by_reason():
    many = [Refusal(member=m(f"{n}/0"), pod=None, reason=Reason.POD_GONE, message="gone") for n in range(40)]
    record = decided(replaced("1/0"))[0].heals[0].model_copy(update={"refusals": tuple(many)})
    for written_down in (heal_status(record, ()), assignment_spec(record)):
        assert written_down is not None
        assert len(written_down.candidates) == TOLD_CANDIDATES
        assert written_down.more_candidates == {"PodGone": 40 - TOLD_CANDIDATES}


def begun() -> JobView:
    view, _ = decided(replaced("1/0"))
    assert view.heals[0].assignment is not None
    return decided(with_received(view, view.heals[0].assignment), NOW + 1)[0]


def test_that_an_epoch_began_for_a_heal_is_read_from_the_epoch():
    view = begun()
    before = view.heals[0].model_copy(
        update={"epoch": None, "rung": None, "begun_at": None, "reason": "StateMissing", "message": "why"}
    )
    assert with_epoch(before, epoch_status(view.epoch)) == view.heals[0]


def test_why_an_epoch_began_is_known_after_its_end():
    view = begun()
    first = epoch_status(view.epoch)
    over = view.epoch.model_copy(update={"open": False, "reason": "PodLost", "message": "gone"})
    second_time = epoch_status(over, epoch_status(over, first))
    assert (second_time.begin_reason, second_time.begin_message) == (view.epoch.reason, view.epoch.message)
    assert with_epoch(view.heals[0], second_time) == view.heals[0]
    assert epoch_status(over, epoch_status(EpochRecord(number=7, open=True, reason="Other"))).begin_reason == ""


def test_an_epoch_changes_no_heal_that_it_does_not_answer():
    view = begun()
    epoch = epoch_status(view.epoch)
    other = view.heals[0].model_copy(update={"request": 99, "epoch": None})
    over = view.heals[0].model_copy(update={"concluded_at": NOW, "epoch": None})
    assert (with_epoch(other, epoch), with_epoch(over, epoch), with_epoch(other, None)) == (other, over, other)


def test_an_assignment_after_the_epoch_is_the_latest_word():
    view = begun()
    heal = view.heals[0].model_copy(update={"assigned_at": NOW + 9, "reason": "DonorLost", "message": "gone"})
    assert with_epoch(heal, epoch_status(view.epoch)).reason == "DonorLost"


def test_a_reason_of_a_newer_operator_is_told_but_not_read_back():
    heal = written(decided(replaced("1/0"))[0].heals[0])
    assert heal.spec.assignment is not None
    strange = heal.spec.assignment.candidates[0].model_copy(update={"reason": "NotInventedYet"})
    told = {"candidates": (strange, *heal.spec.assignment.candidates)}
    spec = heal.spec.model_copy(update={"assignment": heal.spec.assignment.model_copy(update=told)})
    assert heal_record(heal.model_copy(update={"spec": spec})).refusals == heal_record(heal).refusals != ()


def test_of_a_heal_that_an_older_operator_assigned_the_refusals_stand_in_the_status():
    heal = written(decided(replaced("1/0"))[0].heals[0])
    assert heal.spec.assignment is not None
    bare = heal.spec.assignment.model_copy(update={"candidates": ()})
    older = heal.model_copy(update={"spec": heal.spec.model_copy(update={"assignment": bare})})
    assert heal_record(older).refusals == heal_record(heal).refusals != ()


@pytest.mark.parametrize(
    ("before", "now", "differs"),
    [
        ("1/0 was last heard 7.0 s ago", "1/0 was last heard 12 s ago", False),
        ("no buddy takes the part of step 7: x", "no buddy takes the part of step 8: x", False),
        ("no pod holds the place of 1/0", "no pod holds the place of 2/0", True),
        ("2 of 3 replicas", "3 of 3 replicas", True),
    ],
)
def test_a_sentence_is_another_one_if_more_than_ages_and_steps_differ(before, now, differs):
    (first,) = told([Fact(type="Degraded", status=True, reason="X", message=before)], (), NOW, 1)
    (second,) = told([Fact(type="Degraded", status=True, reason="X", message=now)], (first,), NOW, 1)
    assert is_said_otherwise((second,), (first,)) == differs
