"""What a report changes in what is known, whatever the order in which reports come."""

import itertools

import pytest

from builders_core import NOW, a_generation, a_job, a_report, digest_of, heard, m, with_heard, with_new_pod, with_report
from checkpointheal.contract.report import AgentReport, TrainerExit, TrainerFacts
from checkpointheal_operator.core.facts import Heard
from checkpointheal_operator.core.hearing import HEARTBEAT, hear, is_news, last_identity, remember

MEMBER = m("1/0")


def said(sequence: int, **trainer: object) -> AgentReport:
    facts = {"state": "training", "incarnation": "t1", "epoch": 1} | trainer
    return a_report(MEMBER, 10, sequence=sequence, trainer=TrainerFacts.model_validate(facts))


def by(agent: str, sequence: int, started: float | None = None) -> AgentReport:
    """By another start of the agent."""
    return said(sequence).model_copy(update={"agent": agent, "started": started})


def test_a_first_report_dates_agent_and_trainer():
    assert hear(None, said(1), 5.0) == Heard(report=said(1), at=5.0, agent_since=5.0, trainer_since=5.0)


@pytest.mark.parametrize(("before", "after"), [(None, None), (1.0, None), (None, 1.0), (1.0, 2.0), (1.0, 1.0)])
def test_another_start_of_the_agent_is_believed_whatever_its_number(before, after):
    known = hear(None, by("first", 9, before), 5.0)
    other = by("again", 1, after)
    assert hear(known, other, 6.0) == Heard(report=other, at=6.0, agent_since=6.0, trainer_since=6.0)


def test_the_last_word_of_an_earlier_start_comes_too_late_for_whoever_heard_the_later_one_alone():
    known = hear(None, by("again", 1, 20.0), 5.0)
    assert hear(known, by("first", 9, 10.0), 5.0 + HEARTBEAT - 0.1) is known


def test_where_a_clock_was_set_back_the_start_that_goes_on_speaking_is_believed():
    known = hear(None, by("first", 9, 20.0), 5.0)
    later = hear(known, by("again", 1, 10.0), 5.0 + HEARTBEAT)
    assert later.report.agent == "again"


def test_a_late_report_changes_nothing():
    before = hear(None, said(2), 5.0)
    assert hear(before, said(1, state="waiting"), 6.0) is before


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_latest_report_stands_in_whatever_order_they_come(order):
    reports = [said(1), said(2, state="stopped"), said(3, state="absent")]
    known = None
    for index in order:
        known = hear(known, reports[index], 5.0)
    assert known is not None
    assert known.report == reports[2]


@pytest.mark.parametrize(
    ("after", "since"),
    [
        pytest.param({}, 5.0, id="the same goes on"),
        pytest.param({"applied_seconds": 1.0}, 5.0, id="more is known of the same"),
        pytest.param({"state": "stopped"}, 6.0, id="it stands still"),
        pytest.param({"incarnation": "t2"}, 6.0, id="it is another one"),
        pytest.param({"epoch": 2}, 6.0, id="it is in another epoch"),
    ],
)
def test_a_trainer_is_dated_from_when_it_became_what_it_is(after, since):
    known = hear(hear(None, said(1), 5.0), said(2, **after), 6.0)
    assert (known.at, known.agent_since, known.trainer_since) == (6.0, 5.0, since)


@pytest.mark.parametrize(
    ("age", "kept"), [pytest.param(5.9, True, id="a moment ago"), pytest.param(6.0, False, id="silent")]
)
def test_a_pod_that_is_gone_is_known_until_it_is_silent(age, kept):
    view = with_heard(with_new_pod(a_job(), MEMBER), m("0/0"), at=NOW)
    view = view.model_copy(
        update={
            "heard": tuple(h.model_copy(update={"at": NOW - age}) for h in view.heard if "v1" not in h.report.pod_uid)
        }
    )
    after = remember(view, NOW)
    assert ("u1/0" in {each.report.pod_uid for each in after.heard}) is kept
    assert [(each.pod_uid, each.identity.state_digest) for each in after.remembered] == (
        [] if kept else [("u1/0", digest_of(0, 10))]
    )


def test_a_silent_pod_that_is_there_stays_known():
    view = with_heard(a_job(), MEMBER, at=NOW - 600)
    assert set(remember(view, NOW).heard) == set(view.heard)


@pytest.mark.parametrize(
    "trainer",
    [
        pytest.param(TrainerFacts(state="done"), id="it said so"),
        pytest.param(
            TrainerFacts(incarnation="t", exit=TrainerExit(incarnation="t", epoch=1, code=0)), id="it ended with code 0"
        ),
    ],
)
def test_a_member_that_was_done_stays_known_without_a_pod(trainer):
    view = with_report(with_heard(a_job(), MEMBER, at=0.0), MEMBER, trainer=trainer)
    view = view.model_copy(update={"pods": view.pods[:1]})
    assert "u1/0" in {each.report.pod_uid for each in remember(view, NOW).heard}


def test_who_was_done_in_an_older_epoch_and_is_gone_is_forgotten_and_no_witness():
    """A name of a job may be used again and again; nobody asks any more whether those pods were waited for."""
    view = with_report(with_heard(a_job(), MEMBER, at=0.0), MEMBER, trainer=TrainerFacts(state="done"))
    members = tuple(each for each in view.epoch.members if each.member != MEMBER)
    epoch = view.epoch.model_copy(update={"members": members})
    after = remember(view.model_copy(update={"pods": view.pods[:1], "epoch": epoch}), NOW)
    assert "u1/0" not in {each.report.pod_uid for each in after.heard}
    assert MEMBER not in {each.member for each in after.remembered}


def test_a_pod_that_held_nothing_digested_is_no_witness():
    assert last_identity(a_report(MEMBER, 10, generations=(a_generation(MEMBER, 10, state_digest=None),))) is None
    view = with_report(a_job(), MEMBER, generations=())
    view = with_heard(view, MEMBER, at=0.0).model_copy(update={"pods": ()})
    assert [each.member for each in remember(view, NOW + 60).remembered] == [m("0/0"), m("2/0")]


def test_a_witness_tells_the_highest_step_that_was_read():
    report = a_report(MEMBER, 10, generations=(a_generation(MEMBER, 9), a_generation(MEMBER, 10, state_digest=None)))
    witness = last_identity(report)
    assert witness is not None
    assert witness.identity.step == 9


def test_the_later_of_two_lost_pods_of_a_place_is_remembered():
    view = a_job()
    one = heard(a_report(MEMBER, 8, pod_uid="older"), NOW - 100)
    two = heard(a_report(MEMBER, 9, pod_uid="newer"), NOW - 50)
    after = remember(view.model_copy(update={"heard": (two, one)}), NOW)
    assert [each.pod_uid for each in after.remembered] == ["newer"]


def test_a_report_that_only_says_that_its_agent_lives_is_no_news():
    before = hear(None, a_report(m("0/0"), 5), at=10.0)
    again = hear(before, a_report(m("0/0"), 5, sequence=2), at=11.0)
    assert is_news(None, before)
    assert not is_news(before, again)
    assert is_news(before, hear(before, a_report(m("0/0"), 6, sequence=2), at=11.0))


def test_that_an_agent_speaks_again_after_a_silence_is_news():
    before = hear(None, a_report(m("0/0"), 5), at=10.0)
    assert is_news(before, hear(before, a_report(m("0/0"), 5, sequence=2), at=10.0 + HEARTBEAT))
