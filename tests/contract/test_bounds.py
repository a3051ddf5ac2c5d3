"""What may be said is bounded: names are refused that are too long or not plain, sentences are cut and written out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from checkpointheal.contract.base import MOST, Count, Id, Name, Seconds, Sentence, Word, shown, tidy
from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.report import MANY, AgentReport, Flaw
from checkpointheal.contract.trainer import TRAINER_SAYS, Unkept


@given(st.text(), st.integers(2, 30))
def test_a_tidy_text_fits_is_one_line_and_stays_as_it_is(text: str, longest: int) -> None:
    found = tidy(text, longest)
    assert isinstance(found, str)
    assert len(found) <= longest
    assert found.isprintable()
    assert tidy(found, longest) == found


@given(st.text())
def test_a_plain_text_is_shown_as_it_is(text: str) -> None:
    assert (shown(text) == text) == text.isprintable()


def test_what_cannot_be_printed_is_written_out() -> None:
    assert shown("done\n2026 INFO all is well\x1b[2J") == r"done\n2026 INFO all is well\x1b[2J"
    assert tidy("x" * 20, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(("kind", "longest"), [(Name, 253), (Id, 128)])
def test_a_name_is_never_changed_but_refused(kind: object, longest: int) -> None:
    names: TypeAdapter[str] = TypeAdapter(kind)
    assert names.validate_python("ä" * longest) == "ä" * longest
    for bad in ("x" * (longest + 1), "a\nb", "a\x1b[2J", "a\u202eb"):
        with pytest.raises(ValidationError):
            names.validate_python(bad)


@pytest.mark.parametrize(("kind", "longest"), [(Word, 64), (Sentence, 1000)])
def test_a_sentence_is_cut_and_never_refused(kind: object, longest: int) -> None:
    assert TypeAdapter(kind).validate_python("x" * 5000) == "x" * (longest - 1) + "…"


@pytest.mark.parametrize("bad", [-1, MOST + 1, 10**400])
def test_a_number_fits_into_the_api(bad: int) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Count).validate_python(bad)
    with pytest.raises(ValidationError):
        TypeAdapter(Seconds).validate_python(min(bad, 10**300))


def test_a_report_holds_no_more_of_one_kind_than_there_can_be() -> None:
    known = {"job": "gpt", "member": MemberId(replica=0), "pod": "p", "pod_uid": "u", "agent": "a", "sequence": 1}
    report = AgentReport(**known, endpoint=Endpoint(host="h", port=1), flaws=(Flaw(reason="Bad"),) * MANY)
    with pytest.raises(ValidationError, match="at most 1024 items"):
        AgentReport.model_validate(report.model_dump() | {"conditions": ("Bad",) * (MANY + 1)})


def test_what_a_trainer_says_of_its_trouble_reaches_people_on_one_line() -> None:
    said = TRAINER_SAYS.validate_python({"say": "unkept", "reason": "Bad\n", "message": "a\nb" + "x" * 5000})
    assert isinstance(said, Unkept)
    assert (said.reason, said.message[:6], len(said.message)) == ("Bad\\n", "a\\nbxx", 1000)
    with pytest.raises(ValidationError, match="cannot be printed"):
        TRAINER_SAYS.validate_python({"say": "hello", "role": "trainer", "incarnation": "a\nb", "pid": 1})
