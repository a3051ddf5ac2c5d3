"""Every metric is named, told and made as its spec says, and the page tells all of them."""

import re
from pathlib import Path

import pytest

from checkpointheal_operator.measures.operating import OperatorMetrics
from checkpointheal_operator.measures.page import Register
from checkpointheal_operator.measures.reviewing import WebhookMetrics
from checkpointheal_operator.measures.spec import OPERATOR, WEBHOOK, Spec

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
UNITS = ("_total", "_seconds", "_bytes")
NAMES_OF_THINGS = {"pod", "job", "namespace", "policy", "heal", "member", "node", "uid"}


def row(spec: Spec) -> tuple[str, ...]:
    return spec.name, spec.kind, ", ".join(f"`{each}`" for each in spec.labels), spec.meaning


@pytest.mark.parametrize(("heading", "specs"), [("Of the operator", OPERATOR), ("Of the webhook", WEBHOOK)])
def test_the_page_tells_every_metric_and_no_other(heading, specs):
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(checkpointheal_\w+)` \| (\w+) \| (.*?) ?\| (.*) \|$", section, re.MULTILINE)
    assert rows == [row(each) for each in specs]


@pytest.mark.parametrize(("made", "specs"), [(OperatorMetrics(), OPERATOR), (WebhookMetrics(()), WEBHOOK)])
def test_exactly_what_is_specified_is_measured(made, specs):
    register: Register = made
    found = {
        (each.name, each.type, each.documentation)
        for each in register.registry.collect()
        if each.name.startswith("checkpointheal_")
    }
    assert found == {(each.name.removesuffix("_total"), each.kind, each.meaning) for each in specs}


@pytest.mark.parametrize("spec", [*OPERATOR, *WEBHOOK], ids=lambda spec: spec.name)
def test_a_name_has_its_unit_and_no_label_is_without_a_bound(spec):
    assert re.fullmatch(r"checkpointheal(_[a-z]+)+", spec.name)
    assert (spec.kind == "counter") == spec.name.endswith("_total")
    assert spec.kind != "histogram" or spec.name.endswith(UNITS)
    assert not NAMES_OF_THINGS & set(spec.labels)


def test_two_processes_in_one_share_nothing():
    first, second = OperatorMetrics(), OperatorMetrics()
    first.wakeups.inc()
    assert b"checkpointheal_wakeups_total 1.0" in first.text()
    assert b"checkpointheal_wakeups_total 0.0" in second.text()


def test_when_a_series_began_is_not_a_series_of_its_own():
    assert b"_created" not in OperatorMetrics().text()
    assert b"process_resident_memory_bytes" in OperatorMetrics().text()
