"""`history`: which heals there were, one in a row."""

import json

import pytest
import yaml

from builders_plugin import (
    Desktop,
    a_desktop,
    a_training_job,
    drawn,
    healed,
    receiving,
    replaced,
    seen_of,
    text,
    without_colours,
)
from checkpointheal_operator.plugin.history import HEADS, page
from cluster_simulation import ClusterSimulation


def two_heals() -> ClusterSimulation:
    """One is over, one is open."""
    return receiving(replaced(healed(replaced(a_training_job())), "2/0"), 1 << 29)


def rows(said: str) -> list[list[str]]:
    return [line.split() for line in said.splitlines()]


def test_each_heal_is_a_row_oldest_first():
    job = two_heals()
    heads, first, second = rows(text(page(seen_of(job.cluster).heals, "", job.now, namespaced=False)))
    assert heads == list(HEADS)
    assert first[1:9] == ["pod-1-0-10", "Replaced", "pod-0-0-1", "Peer", "5", "0B", "3.5s", "True"]
    assert second[1:9] == ["pod-2-0-15", "Replaced", "pod-0-0-1", "-", "5", "512.0MiB", "-", "Unknown"]


def test_of_all_namespaces_each_row_says_which():
    job = two_heals()
    heads, first, _ = rows(text(page(seen_of(job.cluster).heals, "", job.now, namespaced=True)))
    assert (heads[0], first[0]) == ("NAMESPACE", "training")


def test_where_there_is_none_it_says_so():
    assert text(page((), "heal in namespace training", 0, namespaced=False)) == (
        "There is no heal in namespace training.\n"
    )


@pytest.mark.parametrize("width", [80, 60, 200])
def test_a_narrow_terminal_loses_no_column(width):
    job = two_heals()
    said = without_colours(drawn(page(seen_of(job.cluster).heals, "", job.now, namespaced=False), width))
    assert max(len(line) for line in said.splitlines()) <= width
    assert all(head in said.upper() for head in HEADS)
    assert all(word in said for word in ("pod-2-0-15", "512.0MiB", "Unknown"))


@pytest.fixture
def desktop(tmp_path):
    with a_desktop(tmp_path) as found:
        found.has(two_heals())
        yield found


def test_the_command_writes_the_table(desktop: Desktop):
    ran = desktop.run("history")
    assert (ran.status, ran.err) == (0, "")
    assert [row[1] for row in rows(ran.out)] == ["RECIPIENT", "pod-1-0-10", "pod-2-0-15"]


@pytest.mark.parametrize(
    ("pod", "recipients"),
    [("pod-2-0-15", ["pod-2-0-15"]), ("pod-0-0-1", ["pod-1-0-10", "pod-2-0-15"]), ("pod-9", [])],
    ids=["the recipient", "the donor", "nobody"],
)
def test_heals_of_a_pod_are_those_that_it_received_or_gave(desktop: Desktop, pod: str, recipients: list[str]):
    found = json.loads(desktop.run("history", "--pod", pod, "-o", "json").out)
    assert sorted(each["spec"]["recipient"]["pod"] for each in found["items"]) == recipients


def test_labels_and_policy_are_the_servers_to_compare(desktop: Desktop):
    assert len(rows(desktop.run("history", "--policy", "demo", "-l", "checkpointheal.dev/policy=demo").out)) == 3
    assert "checkpointheal.dev/policy=demo,checkpointheal.dev/policy=demo" in {each for _, each, _ in desktop.selected}
    assert desktop.run("history", "--policy", "other").out == "There is no such heal in namespace training.\n"


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_heals_are_written_as_they_stand_in_the_api(desktop: Desktop, form, read):
    ran = desktop.run("history", "-o", form)
    found = read(ran.out)
    assert found["kind"] == "List"
    assert [each["kind"] for each in found["items"]] == ["Heal", "Heal"]


def test_a_selector_that_the_server_refuses_is_told(desktop: Desktop):
    desktop.says("/heals", json.dumps({"reason": "BadRequest", "message": "unable to parse requirement"}), 400)
    ran = desktop.run("history", "-l", "==")
    assert ran.status == 2
    assert "the API server refused to list heals.checkpointheal.dev: 400: unable to parse requirement" in ran.err


def test_a_heal_that_cannot_be_read_is_told(desktop: Desktop):
    odd = {"metadata": {"name": "odd", "uid": "o", "namespace": "training"}, "spec": {}}
    desktop.says("/heals", {"metadata": {"resourceVersion": "1"}, "items": [odd]})
    ran = desktop.run("history")
    assert ran.status == 1
    assert "! Heal odd cannot be read: spec.recipient" in ran.out
