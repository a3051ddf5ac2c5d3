"""What is counted of a decision, a request and a pod."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from builders_core import a_new_job, decided, replaced
from builders_heals import a_heal, by_peer
from checkpointheal_operator.core.decisions import Assign, BeginEpoch, Conclude, EndEpoch, Nothing, OpenHeal
from checkpointheal_operator.core.heal_record import HealRecord
from checkpointheal_operator.core.reasons import Cause, Reason
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.measures.operating import OperatorMetrics

SPENT = {"restart": 1.0, "choose": 2.0, "hold": 0.25, "transfer": 4.0, "verify": 0.5, "others": 1.0}


def value(metrics: OperatorMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"checkpointheal_{name}", labels)


def concluded(heal: HealRecord) -> OperatorMetrics:
    metrics = OperatorMetrics()
    view = replaced("1/0").model_copy(update={"heals": (heal,)})
    verdict = Conclude(heal=heal.name, recipient=heal.recipient, healed=heal.healed, reason=heal.reason, message="")
    metrics.wrote(verdict, view)
    return metrics


def test_a_heal_from_a_peer_is_counted_with_its_bytes_and_each_of_its_phases():
    metrics = concluded(by_peer(SPENT).model_copy(update={"concluded_at": 112.0}))
    assert value(metrics, "heals_total", rung="Peer", cause="Replaced", result="Healed") == 1
    assert value(metrics, "transferred_bytes_total") == 12_345
    assert value(metrics, "heal_seconds_sum", rung="Peer") == 12.0
    told = {name: value(metrics, "heal_phase_seconds_sum", phase=name) for name in (*SPENT, "apply")}
    assert told == pytest.approx(SPENT | {"apply": 0.5})


@pytest.mark.parametrize("reason", [Reason.RECIPIENT_GONE, Reason.ASKED_AGAIN])
def test_a_heal_that_came_to_nothing_is_counted_but_took_no_time(reason):
    heal = a_heal(healed=False, reason=reason, rung=None, begun_at=None, applied_seconds=None)
    metrics = concluded(heal)
    assert value(metrics, "heals_total", rung="None", cause="Crashed", result=str(reason)) == 1
    assert value(metrics, "heal_seconds_count", rung="None") is None
    assert value(metrics, "heal_phase_seconds_count", phase="restart") is None


def test_a_heal_with_an_earlier_private_part_took_its_time_too():
    metrics = concluded(a_heal(reason=Reason.PRIVATE_STATE_BEHIND))
    assert value(metrics, "heals_total", rung="OwnMemory", cause="Crashed", result="PrivateStateBehind") == 1
    assert value(metrics, "heal_seconds_count", rung="OwnMemory") == 1


def test_a_heal_from_its_own_memory_moved_no_bytes():
    metrics = concluded(a_heal())
    assert value(metrics, "transferred_bytes_total") == 0
    assert value(metrics, "heal_seconds_count", rung="OwnMemory") == 1


def counted(decision: Any, view: JobView) -> OperatorMetrics:
    metrics = OperatorMetrics()
    metrics.wrote(decision, view)
    return metrics


@pytest.mark.parametrize("cause", list(Cause))
def test_the_first_heal_that_falls_back_shows_as_an_increase(cause: Cause):
    """Prometheus sees none where a series begins at its first value."""
    metrics = OperatorMetrics()
    assert value(metrics, "heals_total", rung="Checkpoint", cause=cause, result="FellBack") == 0
    assert value(metrics, "heals_total", rung="Peer", cause=cause, result="Healed") == 0


def test_each_decision_is_counted_by_its_reason():
    view, made = decided(replaced("1/0"))
    opened, assigned = (next(each for each in made if isinstance(each, kind)) for kind in (OpenHeal, Assign))
    assert value(counted(opened, view), "heals_opened_total", cause="Replaced") == 1
    metrics = counted(assigned, view)
    assert value(metrics, "assignments_total", reason=str(assigned.reason)) == 1
    assert value(metrics, "donor_refusals_total", reason="SameMember") == 1
    over = EndEpoch(epoch=1, lost=(), reason=Reason.POD_LOST, message="")
    assert value(counted(over, view), "epochs_ended_total", reason="PodLost") == 1
    nothing = Nothing(reason=Reason.ALL_TRAIN, message="")
    assert counted(nothing, view).text().count(b"\n") == OperatorMetrics().text().count(b"\n")


def test_an_epoch_is_counted_by_its_lowest_rung():
    view, made = decided(a_new_job())
    begun = next(each for each in made if isinstance(each, BeginEpoch))
    assert value(counted(begun, view), "epochs_begun_total", rung="Fresh", reason="FirstStart") == 1


def test_pods_that_are_in_no_trouble_any_more_are_not_counted_on():
    metrics = OperatorMetrics()
    metrics.troubled({Reason.NOT_INJECTED: 3, Reason.NO_POLICY: 1})
    metrics.troubled({Reason.NO_POLICY: 2})
    assert value(metrics, "pods_in_trouble", reason="NotInjected") is None
    assert value(metrics, "pods_in_trouble", reason="NoPolicy") == 2


def test_what_changes_by_itself_is_asked_when_it_is_read():
    metrics, ages = OperatorMetrics(), iter((1.0, 2.0))
    metrics.watches("pods", lambda: next(ages), lambda: 7)
    metrics.leads(lambda: True)
    assert [value(metrics, "watch_age_seconds", kind="pods") for _ in range(2)] == [1.0, 2.0]
    assert value(metrics, "leader") == 1


def test_every_request_of_an_agent_is_counted_by_how_it_was_answered():
    metrics = OperatorMetrics()

    async def ask() -> None:
        async def taken(_: web.Request) -> web.Response:
            return web.Response()

        async def forbidden(_: web.Request) -> web.Response:
            raise web.HTTPForbidden

        app = web.Application(middlewares=[metrics.counting()])
        app.add_routes([web.get("/v1/orders", taken), web.post("/v1/report", forbidden)])
        async with TestClient(TestServer(app)) as client:
            for method, path in (("GET", "/v1/orders"), ("POST", "/v1/report"), ("GET", "/a/strangers/path")):
                await client.request(method, path)

    asyncio.run(ask())
    assert value(metrics, "agent_requests_total", path="/v1/orders", status="200") == 1
    assert value(metrics, "agent_requests_total", path="/v1/report", status="403") == 1
    assert value(metrics, "agent_requests_total", path="elsewhere", status="404") == 1
