"""Every word has a sentence, and every sentence can be said."""

import re
import string
from pathlib import Path

import pytest

from checkpointheal_operator.core.reasons import Reason

NUMBERS = {"age", "grace", "budget", "deadline"}
ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_says_its_sentence_with_every_name_filled_in(reason):
    names = {name for _, name, _, _ in string.Formatter().parse(reason.sentence) if name}
    said = reason.tell(**{name: 1.5 if name in NUMBERS else f"<{name}>" for name in names})
    assert all(f"<{name}>" in said for name in names - NUMBERS)
    assert "{" not in said


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_one_word_in_pascal_case(reason):
    assert reason.isalnum()
    assert reason[0].isupper()
    assert reason.replace("_", "").lower() == reason.name.replace("_", "").lower()


def test_no_two_reasons_are_the_same_word():
    assert len({str(reason) for reason in Reason}) == len(Reason.__members__)


def test_the_architecture_page_tells_every_reason_and_no_other():
    rows = re.findall(r"^\| `([A-Z]\w+)` \| (.*) \|$", ARCHITECTURE.read_text(), re.MULTILINE)
    assert rows == [(str(reason), reason.sentence) for reason in Reason]
