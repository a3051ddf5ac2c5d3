"""docs/rbac.md says what is granted: no more and no less."""

import pytest

from builders_chart import MODES, NAME, needs_helm, rendered, the
from builders_rights import EVERYWHERE, HERE, PEOPLE, Right, granted, right_of, sections
from rights_probes import PROBES

pytestmark = needs_helm

ONLY_IN_PROCESS = ("mutatingwebhookconfigurations", "checkpointheal-webhook-tls")
ONLY_LATE = "pods/ephemeralcontainers"


def documented(title: str) -> set[Right]:
    return {right_of(row) for row in sections()[title]}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("kind", "title"),
    [
        ("ClusterRole", EVERYWHERE),
        ("Role", HERE),
    ],
)
def test_the_operator_has_the_rights_that_are_explained(kind, title, mode, late):
    lacking = (() if mode == "process" else ONLY_IN_PROCESS) + (() if late else (ONLY_LATE,))
    wanted = {each for each in documented(title) if not {each.resource, each.name} & set(lacking)}
    assert granted(the(kind, NAME, rendered(*MODES[mode], ("operator.lateAgents", late)))) == wanted


@pytest.mark.parametrize("role", ["view", "edit"])
def test_people_get_the_rights_that_are_explained(role):
    found = the("ClusterRole", f"{NAME}-{role}", rendered())
    wanted = {right_of(row) for row in sections()[PEOPLE] if row["role"] == role}
    assert granted(found) == wanted
    assert found["metadata"]["labels"][f"rbac.authorization.k8s.io/aggregate-to-{role}"] == "true"


def test_every_right_is_explained():
    for title, rows in sections().items():
        for row in rows:
            assert row["why"], (title, row)
            assert row.get("without it", "-"), (title, row)


def test_every_right_of_the_operator_has_a_probe_that_fails_without_it():
    for title in (EVERYWHERE, HERE):
        for row in sections()[title]:
            assert row["probe"] in PROBES, row
    used = {row["probe"] for title in (EVERYWHERE, HERE) for row in sections()[title]}
    assert used == PROBES.keys()


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
