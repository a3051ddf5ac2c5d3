"""Whatever an agent says of its own pod, the operator reads, decides, writes and goes on looking after the others."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from builders_api import JOB, WHERE, a_policy, set_pods
from builders_core import NOW, a_job, decided, m, replaced, report_of, with_transfer
from checkpointheal.contract.base import MOST
from checkpointheal.contract.gateway import AgentReport
from checkpointheal_operator.api.epoch_record import epoch_status
from checkpointheal_operator.core.hearing import hear
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.shell.cluster import CHECKPOINTHEALS
from checkpointheal_operator.shell.look import Surroundings, look
from checkpointheal_operator.shell.objects import Listening
from fake_cluster import FakeCluster

HOSTILE = m("1/0")
FIXED = {"job", "pod_uid"}
"""The gateway compares these with the token."""


def worlds() -> Iterator[JobView]:
    yield a_job()
    healing, _ = decided(replaced("1/0"))
    yield replaced("1/0")
    yield replaced("0/0")
    assert healing.heals[0].assignment is not None
    for state in ("asking", "receiving", "verified", "failed"):
        yield with_transfer(healing, healing.heals[0].assignment, state).model_copy(update={"heals": ()})


texts = st.one_of(
    st.text(max_size=12),
    st.integers(1, 40_000).map(lambda size: "x" * size),
    st.sampled_from(
        ["", "\0", "\n2026-01-01 INFO checkpointheal: all is well", "\x1b[2J", "{donor}", "../..", "𝄞" * 3000]
    ),
)
numbers = st.one_of(st.integers(), st.sampled_from([0, -1, 2**31, MOST - 1, MOST, 2**63, 10**400]), st.floats())


def places(said: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a report something may be said."""
    each = said.items() if isinstance(said, dict) else enumerate(said) if isinstance(said, list) else None
    if each is None:
        yield way
        return
    for key, inner in each:
        if way or key not in FIXED:
            yield from places(inner, (*way, key))


def put(said: Any, way: tuple[Any, ...], value: object) -> None:
    for key in way[:-1]:
        said = said[key]
    said[way[-1]] = value


async def looks(view: JobView) -> None:
    cluster = FakeCluster()
    cluster.put(CHECKPOINTHEALS, a_policy() | {"status": {"epoch": epoch_status(view.epoch).body(), "job": JOB}})
    set_pods(cluster, *view.pods)
    listening = Listening(view.leader_since, view.heard)
    await look(Surroundings(cluster, lambda: NOW), WHERE, JOB, listening)
    await look(Surroundings(cluster, lambda: NOW + 6), WHERE, JOB, listening)


@settings(max_examples=500, deadline=None)
@given(st.data(), st.sampled_from(list(worlds())))
def test_a_look_ends_whatever_was_said(data: st.DataObject, view: JobView) -> None:
    honest = report_of(view, HOSTILE)
    said = json.loads(honest.model_dump_json())
    for _ in range(data.draw(st.integers(1, 3))):
        way = data.draw(st.sampled_from(list(places(said))))
        put(said, way, data.draw(st.one_of(texts, numbers, st.none())))
    try:
        report = AgentReport.model_validate_json(json.dumps(said))
    except (ValidationError, ValueError):
        return
    heard = tuple(hear(each, report, NOW) if each.report.pod_uid == honest.pod_uid else each for each in view.heard)
    asyncio.run(looks(view.model_copy(update={"heard": heard})))
