"""Alerts and dashboard ask only for what is measured, and alerts say what to do. Without Helm."""

import json
import re
from typing import Any

import pytest
import yaml

from builders_chart import CHART
from checkpointheal_operator.measures import spec

ALERTS = [
    rule for group in yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
SHOWN = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
OF_PROMETHEUS = {"pod", "le"}
"""Labels that whoever collects adds, and those of histograms."""


def metrics() -> dict[str, set[str]]:
    """Every name that can be asked for, and its labels."""
    found: dict[str, set[str]] = {}
    for each in (*spec.OPERATOR, *spec.WEBHOOK):
        parts = ("_bucket", "_sum", "_count") if each.kind == "histogram" else ("",)
        found |= {each.name + part: set(each.labels) for part in parts}
    return found


@pytest.mark.parametrize("expression", [rule["expr"] for rule in ALERTS] + [each["expr"] for each in SHOWN])
def test_only_what_is_measured_is_asked_for(expression):
    named = re.findall(r"\bcheckpointheal_\w+", expression)
    assert named
    labels = set(re.findall(r"(\w+)=~?\"", expression))
    labels |= {each for group in re.findall(r"by \(([^)]*)\)", expression) for each in re.split(r",\s*", group)}
    for name in named:
        assert labels - OF_PROMETHEUS <= metrics()[name], expression


def test_a_histogram_is_never_read_without_its_buckets_and_a_counter_never_as_it_stands():
    counters = {each.name for each in (*spec.OPERATOR, *spec.WEBHOOK) if each.kind == "counter"}
    for expression in [rule["expr"] for rule in ALERTS] + [each["expr"] for each in SHOWN]:
        for name in set(re.findall(r"\bcheckpointheal_\w+", expression)) & counters:
            assert re.search(rf"(rate|increase)\({name}", expression), expression


def test_every_alert_says_what_is_wrong_and_how_badly():
    names: list[Any] = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names)
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert label in rule["expr"], rule["alert"]


def test_panels_do_not_lie_on_each_other():
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


SCRAPED, EVALUATED = 30, 60
"""Seconds: the default of serviceMonitor.interval, and of a Prometheus that was told nothing."""


def seconds(duration: str) -> int:
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


@pytest.mark.parametrize("rule", [each for each in ALERTS if "[" in each["expr"]], ids=lambda rule: rule["alert"])
def test_one_burst_is_seen_for_as_long_as_an_alert_waits(rule):
    """What is counted in one moment is an increase for the window, less what scrapes and evaluations miss."""
    for window in re.findall(r"\[(\w+)\]", rule["expr"]):
        assert seconds(window) >= seconds(rule.get("for", "0s")) + 2 * SCRAPED + EVALUATED, rule["alert"]
