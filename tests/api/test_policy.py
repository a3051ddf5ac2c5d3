"""What a user may write, what it comes to, and what is refused by the field's name."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builders_api import a_policy
from builders_core import NOW, decided, m, replaced
from checkpointheal.contract.base import MOST
from checkpointheal_operator.api.base import Json
from checkpointheal_operator.api.checkpointheal import CheckpointHeal
from checkpointheal_operator.api.definitions import definitions
from checkpointheal_operator.api.heal_record import heal_spec
from checkpointheal_operator.api.policy import deadlines_of, matches, policy_of
from checkpointheal_operator.api.spec import Deadlines, Selector
from checkpointheal_operator.core.deadlines import ORDERS
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.policy import Policy
from structural import Invalid, admit

POLICY_SCHEMA, HEAL_SCHEMA = (each["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for each in definitions())

CHANGED = {
    "layout": {"replicas": 4, "ranks": 8, "minReplicas": 3},
    "donors": {"limit": 3, "bytesPerSecond": 7, "floorBytesPerSecond": 5},
    "privateState": {"buddies": 1, "behind": "Allow"},
    "deadlines": {
        "restoreBudgetSeconds": 60,
        "reportSeconds": 11,
        "agentSilenceSeconds": 7,
        "stoppedTrainerSeconds": 8,
        "epochEndSeconds": 12,
        "transferSeconds": 31,
        "goOnWithoutSeconds": 13,
    },
    "attempts": {"limit": 9, "pauseSeconds": 2, "crashesAtOneStep": 5},
    "probation": {"steps": 3},
    "channel": "Gloo",
    "drill": {"everySeconds": 90},
    "fallback": "Hold",
}


HALF_SAID = (
    {"key": "app", "operator": "NotIn"},
    {"key": "app", "operator": "NotIn", "values": []},
    {"key": "app", "operator": "In"},
    {"key": "app", "operator": "Exists", "values": ["a"]},
    {"key": "app", "operator": "DoesNotExist", "values": ["a"]},
)


def read(**spec: object) -> CheckpointHeal:
    return CheckpointHeal.model_validate(admit(POLICY_SCHEMA, a_policy(**spec)))


def test_only_the_selector_is_needed():
    assert policy_of(read().spec, [m("2/1"), m("0/0")]) == Policy(replicas=3, ranks=2)
    assert policy_of(read().spec, []) == Policy(replicas=1, ranks=1)


def test_a_layout_that_is_written_counts_whatever_is_seen():
    policy = policy_of(read(layout={"replicas": 2, "ranks": 4}).spec, [m("7/7")])
    assert (policy.replicas, policy.ranks) == (2, 4)


def test_every_field_of_the_spec_reaches_the_policy():
    policy = policy_of(read(**CHANGED).spec, [])
    plain = Policy(replicas=1)
    same = {name for name, value in policy if value == getattr(plain, name)}
    assert same == set()
    assert sum(len(each) if isinstance(each, dict) else 1 for each in CHANGED.values()) == len(Policy.model_fields)


def test_every_deadline_that_is_not_said_follows_from_one_number():
    policy = policy_of(read(deadlines={"patienceSeconds": 20, "reportSeconds": 77}).spec, [])
    found = (policy.stopped_grace, policy.agent_silence, policy.report_deadline, policy.epoch_end_deadline)
    assert found == (20, 24, 77, 40)
    assert (policy.transfer_seconds_at_least, policy.restore_budget, policy.go_on_without) == (120, 720, 120)


@pytest.mark.parametrize(
    ("donors", "floor"),
    [
        ({}, 50_000_000),
        ({"bytesPerSecond": 2_500_000}, 1_250_000),
        ({"bytesPerSecond": 1}, 1),
        ({"bytesPerSecond": 1 << 40}, 50_000_000),
        ({"bytesPerSecond": 9, "floorBytesPerSecond": 9}, 9),
        ({"bytesPerSecond": MOST, "floorBytesPerSecond": MOST}, MOST),
    ],
)
def test_who_is_held_to_a_cap_is_not_overdue_for_it(donors, floor):
    assert policy_of(read(donors=donors).spec, []).transfer_floor_bytes_per_second == floor


def test_the_defaults_in_the_definition_are_those_of_the_models():
    assert read() == CheckpointHeal.model_validate(a_policy())


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"selector": {}}, "spec.selector: selector must name at least one label"),
        ({"selector": None}, "spec.selector: is required"),
        ({"layout": {"replicas": 0}}, "spec.layout.replicas: 0 is out of bounds"),
        ({"layout": {"replicas": 2, "minReplicas": 3}}, "spec.layout: minReplicas must not be more than replicas"),
        ({"layout": {"replicas": "three"}}, "spec.layout.replicas: 'three' is no integer"),
        ({"donors": {"limit": True}}, "spec.donors.limit: True is no integer"),
        ({"donors": {"bytesPerSecond": 7, "floorBytesPerSecond": 8}}, "spec.donors: bytesPerSecond must not be less"),
        ({"donors": {"bytesPerSecond": 1 << 60}}, "spec.donors.bytesPerSecond: 1152921504606846976 is out of bounds"),
        ({"donors": {"floorBytesPerSecond": 1 << 60}}, "spec.donors.floorBytesPerSecond: .* is out of bounds"),
        ({"deadlines": {"patienceSeconds": 3}}, "spec.deadlines.patienceSeconds: 3 is out of bounds"),
        (
            {"deadlines": {"agentSilenceSeconds": 11}},
            "spec.deadlines: reportSeconds must not be less than agentSilence",
        ),
        ({"deadlines": {"transferSeconds": 5}}, "spec.deadlines: transferSeconds must not be less than agentSilence"),
        ({"deadlines": {"stoppedTrainerSeconds": 181}}, "spec.deadlines: restoreBudgetSeconds must not be less than"),
        ({"deadlines": {"restoreBudgetSeconds": 0}}, "spec.deadlines.restoreBudgetSeconds: 0 is out of bounds"),
        ({"fallback": "Fresh"}, "spec.fallback: 'Fresh' is none of"),
        ({"privateState": {"behind": "Never"}}, "spec.privateState.behind: 'Never' is none of"),
        ({"privateState": {"buddies": 17}}, "spec.privateState.buddies: 17 is out of bounds"),
        (
            {"selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}},
            r"spec.selector.matchExpressions\[0\].operator: 'Is' is none of",
        ),
        (
            {"selector": {"matchLabels": {"a b": "x"}}},
            "spec.selector: matchLabels must have names that a label can have",
        ),
        ({"selector": {"matchLabels": {"team": "ml/vision"}}}, "spec.selector.matchLabels.team: 'ml/vision' does not"),
        (
            {"selector": {"matchExpressions": [{"key": "A.b/c", "operator": "Exists"}]}},
            r"spec.selector.matchExpressions\[0\].key: 'A.b/c' does not match",
        ),
        (
            {"selector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "-"]}]}},
            r"spec.selector.matchExpressions\[0\].values\[1\]: '-' does not match",
        ),
        *(
            (
                {"selector": {"matchExpressions": [each]}},
                r"spec.selector.matchExpressions\[0\]: values must be said for",
            )
            for each in HALF_SAID
        ),
    ],
)
def test_a_bad_policy_is_refused_by_the_fields_name(spec, named):
    with pytest.raises(Invalid, match=named):
        admit(POLICY_SCHEMA, a_policy(**spec))


SAID = ("reportSeconds", "agentSilenceSeconds", "transferSeconds", "restoreBudgetSeconds", "stoppedTrainerSeconds")


@given(st.integers(4, 60), st.dictionaries(st.sampled_from(SAID), st.integers(1, 400), max_size=3))
@example(7, {"reportSeconds": 8})
def test_deadlines_are_taken_exactly_where_those_that_the_operator_goes_by_are_in_order(patience, said):
    deadlines = {"patienceSeconds": patience, **said}
    found = deadlines_of(Deadlines.model_validate(deadlines))
    are_in_order = all(getattr(found, each.longer) >= getattr(found, each.shorter) for each in ORDERS)
    try:
        admit(POLICY_SCHEMA, a_policy(deadlines=deadlines))
    except Invalid:
        assert not are_in_order
    else:
        assert are_in_order


@pytest.mark.parametrize("expression", HALF_SAID)
def test_a_requirement_that_says_half_is_not_read_either_where_an_older_definition_took_it(expression):
    with pytest.raises(ValueError, match="values must be said for In and NotIn"):
        Selector.model_validate({"matchExpressions": [expression]})


LABELS = [
    ("app", "a", ""),
    ("training.kubeflow.org/job-name", "a_b.C-9", ""),
    ("app", "", ""),
    ("a" * 63, "b" * 63, ""),
    ("app", "ml/vision", "'ml/vision' is no value of a label: 63 letters, digits"),
    ("app", "a\n", r"'a\\n' is no value of a label"),
    ("a" * 64, "b", "'a+' is no name of a label"),
    ("Org/app", "b", "'Org/app' is no name of a label"),
    ("", "b", "'' is no name of a label"),
]


@pytest.mark.parametrize(("name", "value", "told"), LABELS)
def test_a_selector_of_an_older_definition_is_read_and_says_what_of_it_can_be_no_label(name, value, told):
    expression = {"key": name, "operator": "In", "values": ["x", value]}
    for said in ({"matchLabels": {name: value}}, {"matchExpressions": [expression]}):
        flaw = Selector.model_validate(said).flaw
        assert bool(flaw) is bool(told)
        assert re.match(told, flaw)


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({"matchLabels": {"app": "a"}}, True),
        ({"matchLabels": {"app": "a", "tier": "x"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a", "b"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["x"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
    ],
)
def test_a_selector_selects_as_the_api_server_would(selector, selected):
    assert matches(Selector.model_validate(selector), {"app": "a"}) == selected


def a_heal() -> HealRecord:
    return decided(replaced("1/0"))[0].heals[0]


def spec_of(record: HealRecord) -> Json:
    return {"spec": json.loads(json.dumps(heal_spec(record, "pod", 1).body()))}


def reassigned(record: HealRecord, **changes: object) -> HealRecord:
    assert record.assignment is not None
    return record.model_copy(update={"assignment": record.assignment.model_copy(update=changes)})


BEFORE = a_heal()


@pytest.mark.parametrize(
    ("after", "named"),
    [
        (BEFORE.model_copy(update={"agent": "another"}), "spec.recipient: is immutable"),
        (BEFORE.model_copy(update={"cause": "Crashed"}), "spec.cause: is immutable"),
        (BEFORE.model_copy(update={"crash_step": 4}), "spec: crashStep is immutable"),
        (BEFORE.model_copy(update={"opened_at": NOW + 1}), "spec.openedAt: is immutable"),
        (BEFORE.model_copy(update={"noticed_at": NOW + 1}), "spec.noticedAt: is immutable"),
        (BEFORE.model_copy(update={"assignment": None}), "spec: an assignment is replaced, never taken back"),
        (reassigned(BEFORE, step=11), "spec.assignment: an assignment changes only with a higher attempt"),
    ],
)
def test_what_was_decided_about_a_heal_stays(after, named):
    with pytest.raises(Invalid, match=named):
        admit(HEAL_SCHEMA, spec_of(after), admit(HEAL_SCHEMA, spec_of(BEFORE)))


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [("attempt", 0, "0 is out of bounds"), ("donors", [], "has 0 items"), ("deadlineSeconds", None, "is required")],
)
def test_an_assignment_is_whole(field, value, named):
    body = spec_of(BEFORE)
    body["spec"]["assignment"][field] = value
    with pytest.raises(Invalid, match=f"spec.assignment.{field}: {named}"):
        admit(HEAL_SCHEMA, body)


def test_an_assignment_may_follow_none_and_a_higher_attempt_a_lower_one():
    unassigned = admit(HEAL_SCHEMA, spec_of(BEFORE.model_copy(update={"assignment": None})))
    first = admit(HEAL_SCHEMA, spec_of(BEFORE), unassigned)
    admit(HEAL_SCHEMA, spec_of(reassigned(BEFORE, attempt=2, step=12)), first)


def test_the_number_of_an_epoch_never_falls():
    higher, lower = ({**a_policy(), "status": {"epoch": {"number": number}}} for number in (5, 4))
    with pytest.raises(Invalid, match=r"status\.epoch: the number of an epoch never falls"):
        admit(POLICY_SCHEMA, lower, admit(POLICY_SCHEMA, higher))
