"""docs/rbac.md says what is granted: no more and no less."""

import re
from typing import NamedTuple

import pytest

from builders_chart import MODES, NAME, ROOT, Manifest, needs_helm, rendered, the

pytestmark = needs_helm

ONLY_IN_PROCESS = ("mutatingwebhookconfigurations", "checkpointheal-webhook-tls")
ONLY_LATE = "pods/ephemeralcontainers"


class Right(NamedTuple):
    group: str
    resource: str
    name: str
    verb: str


def sections() -> dict[str, list[dict[str, str]]]:
    """The rows of each section's table."""
    found = {}
    for part in (ROOT / "docs" / "rbac.md").read_text().split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        lines = re.findall(r"^\|(.*)\|$", text, re.MULTILINE)
        rows = [[cell.strip() for cell in line.split("|")] for line in lines]
        found[title] = [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]
    return found


def documented(title: str) -> set[Right]:
    return {
        Right(row["API group"], row["resource"], row["names"].replace("NAME", NAME), row["verb"])
        for row in sections()[title]
    }


def granted(role: Manifest) -> set[Right]:
    return {
        Right(group, resource, name, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("kind", "title"),
    [
        ("ClusterRole", "The operator, in all namespaces"),
        ("Role", "The operator, in its own namespace"),
    ],
)
def test_the_operator_has_the_rights_that_are_explained(kind, title, mode, late):
    lacking = (() if mode == "process" else ONLY_IN_PROCESS) + (() if late else (ONLY_LATE,))
    wanted = {each for each in documented(title) if not {each.resource, each.name} & set(lacking)}
    assert granted(the(kind, NAME, rendered(*MODES[mode], ("operator.lateAgents", late)))) == wanted


@pytest.mark.parametrize("role", ["view", "edit"])
def test_people_get_the_rights_that_are_explained(role):
    found = the("ClusterRole", f"{NAME}-{role}", rendered())
    wanted = {
        Right(row["API group"], row["resource"], "", row["verb"]) for row in sections()["People"] if row["role"] == role
    }
    assert granted(found) == wanted
    assert found["metadata"]["labels"][f"rbac.authorization.k8s.io/aggregate-to-{role}"] == "true"


def test_every_right_is_explained():
    for title, rows in sections().items():
        for row in rows:
            assert row["why"], (title, row)
            assert row.get("without it", "-"), (title, row)


def test_nobody_else_is_granted_anything():
    manifests = rendered()
    bound = {
        (each["kind"], subject["name"], each["roleRef"]["name"])
        for each in manifests
        if each["kind"] in ("ClusterRoleBinding", "RoleBinding")
        for subject in each["subjects"]
    }
    assert bound == {("ClusterRoleBinding", NAME, NAME), ("RoleBinding", NAME, NAME)}
    roles = {each["metadata"]["name"] for each in manifests if each["kind"] in ("ClusterRole", "Role")}
    assert roles == {NAME, f"{NAME}-view", f"{NAME}-edit"}


def test_rights_can_be_granted_by_somebody_else():
    found = {each["kind"] for each in rendered(("rbac.create", False))}
    assert not {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"} & found


def test_nothing_is_granted_by_a_star_and_no_secret_is_listed():
    for each in rendered():
        for right in granted(each) if each["kind"] in ("ClusterRole", "Role") else ():
            assert "*" not in right, right
            assert right.resource != "secrets" or right.verb == "create" or right.name, right
            assert right.resource != "pods" or right.verb in ("get", "list", "watch"), right
