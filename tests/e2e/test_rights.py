"""Each right is needed: without it something that the operator does is refused by its name, until it is back."""

import contextlib
import json
import uuid
from collections.abc import Iterator

import pytest

from builders_cluster import SYSTEM, Refused, kubectl, one, until
from builders_jobs import json_of
from builders_release import upgrade
from builders_rights import EVERYWHERE, HERE, PEOPLE, Right, granted, right_of, sections
from rights_probes import NAME, PROBES, Scene

ADDS_LATE = "adds late"
ROWS = [
    pytest.param(kind, right_of(row), row["probe"], id=str(right_of(row)))
    for kind, title in (("clusterrole", EVERYWHERE), ("role", HERE))
    for row in sections()[title]
]
OF_PEOPLE = [
    pytest.param(row["role"], right_of(row), id=f"{row['role']}: {right_of(row)}") for row in sections()[PEOPLE]
]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    names = [f"e2e-rights-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    for name in names:
        kubectl("create", "namespace", name)
    yield Scene(*names)
    kubectl("delete", "namespace", *names, "--wait=false")


@contextlib.contextmanager
def without(kind: str, name: str, right: Right) -> Iterator[None]:
    """The role as it is, but for this."""
    role = one(kind, SYSTEM, name) if kind == "role" else json_of(kind, name)
    assert role is not None
    rights = granted(role)
    assert right in rights, f"{right} is not granted at all"
    _set(kind, name, [each.rule for each in sorted(rights - {right})])
    try:
        yield
    finally:
        _set(kind, name, role["rules"])


def _set(kind: str, name: str, rules: list[object]) -> None:
    kubectl("patch", kind, name, "-n", SYSTEM, "--type=merge", "-p", json.dumps({"rules": rules}))


@pytest.mark.parametrize(("kind", "right", "probe"), ROWS)
def test_without_it_the_operator_is_refused_by_name_and_with_it_again_goes_on(kind, right, probe, scene):
    needed = PROBES[probe]
    if probe == ADDS_LATE:
        upgrade("operator.lateAgents=true")

    def is_refused() -> bool:
        needed.works(scene)
        return any(right.is_refused_in(line) for line in scene.said())

    scene.begin()
    try:
        with without(kind, NAME, right):
            needed.provoke(scene)
            until(is_refused, f"a refusal of {right}", seen=lambda: scene.said()[-10:])
            assert not needed.works(scene)
        until(lambda: needed.works(scene), f"it {probe} again", seen=lambda: scene.said()[-10:])
    finally:
        needed.mend(scene)


@pytest.mark.parametrize(("role", "right"), OF_PEOPLE)
def test_without_it_the_api_server_tells_people_that_they_may_not(role, right, namespace):
    whoever = f"{role}-{uuid.uuid4().hex[:8]}"
    kubectl("create", "rolebinding", whoever, "-n", namespace, f"--clusterrole={role}", f"--user={whoever}")

    def may() -> bool:
        asked = ["auth", "can-i", right.verb, f"{right.resource}.{right.group}", "-n", namespace, f"--as={whoever}"]
        return _is_yes(*asked)

    until(may, f"{role} may {right}")
    with without("clusterrole", f"{NAME}-{role}", right):
        until(lambda: not may(), f"{role} may not {right}")
    until(may, f"{role} may {right} again")


def _is_yes(*words: str) -> bool:
    """`can-i` says no by its exit status."""
    with contextlib.suppress(Refused):
        return kubectl(*words).strip() == "yes"
    return False
