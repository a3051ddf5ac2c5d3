"""The output that docs/kubectl-plugin.md shows is what the code prints, and its rights are enough."""

from pathlib import Path

import pytest
import yaml

from builders_api import WHERE
from builders_core import m
from builders_plugin import Desktop, a_desktop, a_training_job, healed, receiving, replaced
from cluster_simulation import ClusterSimulation

PAGE = (Path(__file__).parents[2] / "docs" / "kubectl-plugin.md").read_text()
VERBS = {
    "status": ("status",),
    "explain": ("explain", "pod-2-0-15"),
    "history": ("history",),
    "watch": ("watch",),
    "report": ("report",),
}


def a_morning() -> ClusterSimulation:
    """One pod was healed a while ago, another one receives its state now."""
    job = healed(replaced(a_training_job()))
    job.now += 200
    return receiving(replaced(job, "2/0"), 1 << 29)


@pytest.fixture
def desktop(tmp_path):
    with a_desktop(tmp_path) as found:
        found.has(a_morning(), "pod-0-0-1")
        yield found


@pytest.mark.parametrize("verb", ["status", "explain", "history"])
def test_the_page_shows_what_is_printed(desktop: Desktop, verb: str):
    argv = VERBS[verb]
    assert f"$ kubectl checkpointheal {' '.join(argv)}\n{desktop.run(*argv).out}" in PAGE


def rights() -> dict[str, list[dict[str, list[str]]]]:
    """The Roles on the page, by name."""
    blocks = [part.split("```")[0] for part in PAGE.split("```yaml\n")[1:]]
    roles = [each for block in blocks for each in yaml.safe_load_all(block) if each["kind"] in ("Role", "ClusterRole")]
    return {each["metadata"]["name"]: each["rules"] for each in roles}


def allowed(rules: list[dict[str, list[str]]]) -> set[tuple[str, str, str]]:
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_readers_role_is_enough_for_all_that_is_asked_in_the_jobs_namespace(desktop: Desktop, monkeypatch):
    monkeypatch.chdir(desktop.folder)
    for verb in ("status", "explain", "history", "report"):
        assert desktop.run(*VERBS[verb]).status in (0, 1)
    role = allowed(rights()["checkpointheal-reader"])
    asked = {path for path, _, _ in desktop.selected if f"/namespaces/{WHERE}/" in path}
    assert asked
    for path in asked:
        group, rest = ("", path) if path.startswith("/api/") else (path.split("/")[2], path)
        parts = rest.split(f"/namespaces/{WHERE}/")[1].split("/")
        resource = "/".join([parts[0], *parts[2:]])
        assert (group, resource, "get" if len(parts) > 1 else "list") in role, path


def test_nobody_needs_to_change_anything_or_to_read_a_secret():
    for rules in rights().values():
        for _group, resource, verb in allowed(rules):
            assert verb in ("get", "list", "watch")
            assert resource != "secrets"


def test_the_builders_morning_is_the_pages():
    assert a_morning().pods[m("2/0")].name == "pod-2-0-15"
