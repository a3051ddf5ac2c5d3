"""Every scenario has a namespace of its own and the same training, whose end is known from an undisturbed run."""

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from builders_cluster import CONTEXT, SYSTEM, Job, Json, Refused, kubectl, one, plain_run, until
from builders_tokens import Waiting, waiting

LATE = "token_of_the_start"
"""Whoever needs it comes last: it has to grow old."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for each in items:
        if "e2e" in each.path.parts:
            each.add_marker(pytest.mark.e2e)
            each.add_marker(pytest.mark.timeout(900))
    items.sort(key=_comes_late)


def _comes_late(item: pytest.Item) -> bool:
    return LATE in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session", autouse=True)
def cluster() -> None:
    """There is one, and the operator and the webhook answer."""
    try:
        kubectl("wait", "-n", SYSTEM, "deploy", "--all", "--for=condition=Available", "--timeout=120s", seconds=180)
    except (Refused, subprocess.TimeoutExpired, FileNotFoundError) as error:
        pytest.exit(f"no cluster {CONTEXT} with the operator in it; `make cluster` makes one: {error}", returncode=2)


@pytest.fixture(scope="session")
def token_of_the_start(cluster: None) -> Iterator[tuple[Waiting, str, float]]:
    """A pod, its token, and when that was minted, in seconds since 1970."""
    name = f"e2e-late-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    pod = waiting(name, "late")
    yield pod, pod.token(), time.time()
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session", autouse=True)
def minted_at_the_start(cluster: None, request: pytest.FixtureRequest) -> None:
    """Where a test of this run will ask for it."""
    if any(_comes_late(each) for each in request.session.items):
        request.getfixturevalue(LATE)


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def undisturbed() -> Callable[[Job], dict[int, Json]]:
    """Fingerprints of the plain script's run, made once for each training."""
    known: dict[tuple[Any, ...], dict[int, Json]] = {}

    def of(job: Job) -> dict[int, Json]:
        key = (job.replicas, job.steps, *job.model)
        if key not in known:
            name = f"e2e-plain-{uuid.uuid4().hex[:8]}"
            kubectl("create", "namespace", name)
            try:
                known[key] = plain_run(name, "plain", job)
            finally:
                kubectl("delete", "namespace", name, "--wait=false")
        return known[key]

    return of


@pytest.fixture
def same(undisturbed: Callable[[Job], dict[int, Json]]) -> Callable[[Job], None]:
    """Nothing was lost: every rank ends with the bits that it would have ended with."""

    def check(job: Job) -> None:
        assert job.fingerprints() == undisturbed(job), job.look()

    return check


@pytest.fixture
def both_operators() -> Iterator[None]:
    """Two replicas of the operator afterwards, whatever a test did to them."""
    yield
    kubectl("scale", "-n", SYSTEM, "deploy/checkpointheal", "--replicas=2")
    until(
        lambda: (one("deploy", SYSTEM, "checkpointheal") or {}).get("status", {}).get("readyReplicas") == 2,
        "both operators are back",
    )
