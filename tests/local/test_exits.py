"""A trainer that fails is told once, with its own last words."""

from pathlib import Path

import pytest

from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.report import AgentReport, TrainerExit, TrainerFacts
from checkpointheal_operator.core.facts import Heard
from checkpointheal_operator.core.policy import Policy
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.local.exits import Exits, last_words, sentence


def a_view(ended: TrainerExit | None) -> JobView:
    report = AgentReport(
        job="job",
        member=MemberId(replica=0),
        pod="trainer-0",
        pod_uid="u",
        agent="a",
        sequence=1,
        endpoint=Endpoint(host="127.0.0.1", port=1),
        trainer=TrainerFacts(exit=ended),
    )
    heard = Heard(report=report, at=0, agent_since=0, trainer_since=0)
    return JobView(job="job", policy=Policy(replicas=1), leader_since=0, heard=(heard,))


def an_exit(**facts: object) -> TrainerExit:
    return TrainerExit(incarnation="t1", epoch=1).model_copy(update=facts)


@pytest.mark.parametrize("facts", [{"code": 1}, {"signal": 9}], ids=["an error", "a signal"])
def test_a_failure_is_told_once(facts: dict[str, object]) -> None:
    exits = Exits()
    assert [pod for pod, _ in exits.new(a_view(an_exit(**facts)))] == ["trainer-0"]
    assert list(exits.new(a_view(an_exit(**facts)))) == []
    assert list(exits.new(a_view(an_exit(incarnation="t2", **facts))))


@pytest.mark.parametrize(
    "ended",
    [None, an_exit(code=0), an_exit(code=75), an_exit(code=1, told=True)],
    ids=["it lives", "it is done", "its epoch is over", "it was told to end"],
)
def test_what_is_no_failure_is_not_told(ended: TrainerExit | None) -> None:
    assert list(Exits().new(a_view(ended))) == []


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (b"", ""),
        (b"step 1\nValueError: no\n\n", "ValueError: no"),
        (b"ValueError: no\ncheckpointheal run: exit 1, failure 1 of 5\n", "ValueError: no"),
        (
            b"  raise SchemaDiffers(many)\ncheckpointheal.errors.SchemaDiffers: w: shape\ncheckpointheal: over\n",
            "checkpointheal.errors.SchemaDiffers: w: shape",
        ),
        (b"\xff\xfe broken\n", "\ufffd\ufffd broken"),
        (b"x" * 9000, "x" * 200),
    ],
    ids=["an empty log", "the last line", "not our own words", "an error of ours", "no text", "an endless line"],
)
def test_the_last_words_are_the_trainers_own(tmp_path: Path, log: bytes, words: str) -> None:
    (tmp_path / "log").write_bytes(log)
    assert last_words(tmp_path / "log") == words


def test_what_was_said_before_a_signal_is_not_told_as_its_reason(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("Warning: find_unused_parameters=True\n")
    told = sentence("trainer-0", an_exit(signal=9), tmp_path / "log")
    assert told == f"trainer-0: its trainer ended, signal 9 (log: {tmp_path / 'log'})"


def test_without_a_log_the_sentence_still_tells_how(tmp_path: Path) -> None:
    told = sentence("trainer-0", an_exit(signal=9), tmp_path / "log")
    assert told == f"trainer-0: its trainer ended, signal 9 (log: {tmp_path / 'log'})"
