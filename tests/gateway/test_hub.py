"""The hub keeps the latest of each pod and wakes whom it concerns."""

import asyncio
from itertools import count

from checkpointheal.contract.identity import Endpoint, MemberId
from checkpointheal.contract.orders import Orders
from checkpointheal.contract.report import AgentReport
from checkpointheal_operator.gateway.hub import NO_ORDERS, Hub


def a_report(uid: str, sequence: int = 1, agent: str = "a1") -> AgentReport:
    return AgentReport(
        job="gpt",
        member=MemberId(replica=0),
        pod="trainer-0",
        pod_uid=uid,
        agent=agent,
        sequence=sequence,
        endpoint=Endpoint(host="127.0.0.1", port=1),
    )


def a_hub() -> tuple[Hub, list[None]]:
    """A hub whose clock counts its readings, and a list that grows with each notice."""
    notices: list[None] = []
    ticks = count()
    return Hub(lambda: float(next(ticks)), lambda: notices.append(None)), notices


def test_each_report_is_a_notice_and_only_the_latest_is_kept() -> None:
    hub, notices = a_hub()
    for sequence in (1, 3, 2):
        hub.take(a_report("uid-0", sequence))
    hub.take(a_report("uid-1"))
    assert len(notices) == 4
    assert sorted((each.report.pod_uid, each.report.sequence) for each in hub.heard) == [("uid-0", 3), ("uid-1", 1)]


def test_another_start_of_the_agent_counts_from_the_beginning() -> None:
    hub, _ = a_hub()
    hub.take(a_report("uid-0", 9, agent="a1"))
    hub.take(a_report("uid-0", 1, agent="a2"))
    assert [(each.report.agent, each.report.sequence) for each in hub.heard] == [("a2", 1)]


def test_what_is_not_kept_is_forgotten() -> None:
    hub, _ = a_hub()
    hub.take(a_report("uid-0"))
    hub.take(a_report("uid-1"))
    hub.keep_only(tuple(each for each in hub.heard if each.report.pod_uid == "uid-1"))
    assert [each.report.pod_uid for each in hub.heard] == ["uid-1"]


def test_a_pod_that_is_left_out_is_ordered_nothing_any_more() -> None:
    async def run() -> None:
        hub, _ = a_hub()
        hub.order({"uid-0": Orders(revision=4)})
        assert await hub.orders("uid-0", -1, 0) == Orders(revision=4)
        hub.order({})
        assert await hub.orders("uid-0", -1, 0) == NO_ORDERS

    asyncio.run(run())


def test_everyone_who_waits_for_the_same_pod_hears_of_it() -> None:
    async def run() -> None:
        hub, _ = a_hub()
        waiting = [asyncio.create_task(hub.orders("uid-0", 1, 60)) for _ in range(3)]
        await asyncio.sleep(0)
        hub.order({"uid-0": Orders(revision=2)})
        assert await asyncio.gather(*waiting) == [Orders(revision=2)] * 3

    asyncio.run(run())


def test_a_change_wakes_only_whom_it_orders_something_else() -> None:
    async def run() -> None:
        hub, _ = a_hub()
        hub.order({"uid-0": Orders(revision=1), "uid-1": Orders(revision=1)})
        waiting = {uid: asyncio.create_task(hub.orders(uid, 1, 60)) for uid in ("uid-0", "uid-1")}
        await asyncio.sleep(0)
        hub.change({"uid-0": Orders(revision=1), "uid-1": Orders(revision=2)})
        assert await waiting["uid-1"] == Orders(revision=2)
        assert not waiting["uid-0"].done()
        hub.change({"uid-0": Orders(revision=3)}, gone=("uid-1",))
        assert await waiting["uid-0"] == Orders(revision=3)
        assert await hub.orders("uid-1", -1, 0) == NO_ORDERS

    asyncio.run(run())
