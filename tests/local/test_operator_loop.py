"""The loop gathers, decides, writes down and orders; it looks again when something was noticed."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from builders_core import NOW, a_generation, a_job, a_new_job, m, replaced, report_of, with_report, with_trainer
from builders_local import SAFETY, running
from checkpointheal.contract.report import DrillFacts
from checkpointheal_operator.core.decisions import Assign, BeginEpoch, Decision, Nothing, OpenHeal, Wait
from checkpointheal_operator.core.facts import PodFacts
from checkpointheal_operator.core.view import JobView
from checkpointheal_operator.local.operator_loop import OperatorLoop


class Wall:
    """A loop over pods and reports of the test's choice, with a clock that stands."""

    def __init__(self, view: JobView) -> None:
        self.view, self.pods, self.told = view, view.pods, list[Decision]()
        self.looks, self.now = 0, NOW
        self.loop = OperatorLoop("demo", view.policy, self._pods, lambda: self.now, self._told)
        self.loop.looked = self._looked

    def report(self) -> None:
        for heard in self.view.heard:
            self.loop.hub.take(heard.report)

    def done(self) -> list[Decision]:
        return [each for each in self.told if not isinstance(each, Nothing | Wait)]

    def _pods(self) -> tuple[PodFacts, ...]:
        return self.pods

    def _told(self, decision: Decision, _view: JobView) -> None:
        self.told.append(decision)

    def _looked(self, _view: JobView) -> None:
        self.looks += 1


def over(wall: Wall, act: Callable[[Wall], Awaitable[None]]) -> None:
    async def work() -> None:
        looping = asyncio.create_task(wall.loop.run())
        await act(wall)
        looping.cancel()

    running(work())


async def looked_again(wall: Wall) -> None:
    before = wall.looks
    wall.loop.notice()
    while wall.looks == before:
        await asyncio.sleep(0)


def test_trainers_that_all_wait_are_begun_with_and_their_agents_ordered() -> None:
    async def act(wall: Wall) -> None:
        wall.report()
        await looked_again(wall)
        (begun,) = wall.done()
        assert isinstance(begun, BeginEpoch)
        assert wall.loop.view.epoch.number == 1
        for pod in wall.pods:
            orders = await wall.loop.hub.orders(pod.uid, 0, 1)
            assert orders.epoch is not None
            assert (orders.epoch.epoch, orders.epoch.over) == (1, False)

    over(Wall(a_new_job()), act)


def test_looking_again_at_the_same_facts_does_and_says_nothing_new() -> None:
    async def act(wall: Wall) -> None:
        wall.report()
        await looked_again(wall)
        before = list(wall.told)
        for _ in range(3):
            await looked_again(wall)
        assert wall.told == before

    over(Wall(a_new_job()), act)


def test_what_is_waited_for_is_not_said_again_for_its_age() -> None:
    async def act(wall: Wall) -> None:
        wall.report()
        wall.now += 30
        for heard in wall.view.heard[:-1]:
            wall.loop.hub.take(heard.report.model_copy(update={"sequence": 2}))
        await looked_again(wall)
        (before,) = wall.told
        assert before.message == "the agent of 2/0 was last heard 30.0 s ago"
        wall.now += 3
        await looked_again(wall)
        assert wall.told == [before]

    over(Wall(with_trainer(a_new_job(), m("2/0"), state="waiting")), act)


def test_a_pod_that_is_gone_is_nobodys_view_any_more() -> None:
    async def act(wall: Wall) -> None:
        wall.report()
        await looked_again(wall)
        wall.pods = wall.pods[1:]
        await looked_again(wall)
        assert [pod.member for pod in wall.loop.view.pods] == [m("1/0"), m("2/0")]

    over(Wall(a_new_job()), act)


def test_a_policy_that_was_replaced_holds_from_the_next_look_on() -> None:
    async def act(wall: Wall) -> None:
        await looked_again(wall)
        wall.loop.policy = wall.loop.policy.model_copy(update={"bytes_per_second": 5})
        await looked_again(wall)
        assert wall.loop.view.policy.bytes_per_second == 5

    over(Wall(a_job()), act)


@pytest.mark.parametrize("turns", range(4))
def test_a_loop_that_is_ended_at_the_moment_of_news_ends(turns: int) -> None:
    """It went on for ever, and whoever ended a job waited for it."""

    async def end() -> None:
        wall = Wall(a_job())
        looping = asyncio.create_task(wall.loop.run())
        await asyncio.sleep(0.01)
        wall.loop.notice()
        for _ in range(turns):
            await asyncio.sleep(0)
        looping.cancel()
        await asyncio.wait({looping}, timeout=SAFETY / 10)
        assert looping.cancelled()

    running(end())


def test_agents_of_one_machine_have_no_certificates_so_their_states_cross_over_gloo() -> None:
    async def act(wall: Wall) -> None:
        assert wall.loop.policy.channel == "tls"
        assert wall.loop.view.policy.channel == "gloo"
        await looked_again(wall)
        assert wall.loop.view.policy.channel == "gloo"

    over(Wall(a_job()), act)


def test_a_report_is_a_notice() -> None:
    async def act(wall: Wall) -> None:
        await looked_again(wall)
        wall.loop.hub.take(report_of(wall.view, m("0/0")))
        before = wall.looks
        while wall.looks == before:
            await asyncio.sleep(0)
        assert [heard.report.member for heard in wall.loop.view.heard] == [m("0/0")]

    over(Wall(a_new_job()), act)


def test_a_donor_that_was_not_heard_just_now_is_asked_before_it_is_assigned() -> None:
    async def act(wall: Wall) -> None:
        wall.now = NOW - 1.5
        wall.loop.hub.take(report_of(wall.view, m("0/0")))
        wall.now = NOW
        for heard in wall.view.heard[1:]:
            wall.loop.hub.take(heard.report)
        await looked_again(wall)
        assert isinstance(wall.done()[-1], OpenHeal)
        asked = {pod.uid: await wall.loop.hub.orders(pod.uid, 0, 1) for pod in wall.pods}
        assert {uid: bool(each.question) for uid, each in asked.items()} == {"u0/0": True, "u2/0": False, "v1/0": False}
        answer = report_of(wall.view, m("0/0")).model_copy(update={"answered": asked["u0/0"].question, "sequence": 2})
        wall.loop.hub.take(answer)
        await looked_again(wall)
        assigned = wall.done()[-1]
        assert isinstance(assigned, Assign)
        assert [str(each.member) for each in assigned.assignment.donors] == ["0/0", "2/0"]

    over(Wall(with_report(replaced("1/0"), m("0/0"), answered="")), act)


def test_a_drill_that_is_asked_for_is_answered_and_each_request_by_a_drill_of_its_own() -> None:
    async def act(wall: Wall) -> None:
        wall.report()
        one, two = await asyncio.gather(wall.loop.drill(), wall.loop.drill())
        for drill in (one, two):
            assert (drill.passed, drill.reason) == (False, "NotTraining")
        assert one.request != two.request

    over(Wall(a_new_job()), act)


def test_a_drill_between_two_agents_is_ordered_and_its_end_is_heard() -> None:
    async def act(wall: Wall) -> None:
        wall.view = _knowing_drills(wall.view)
        wall.report()
        await looked_again(wall)
        epoch = wall.loop.view.epoch.number
        for member in wall.view.policy.members():
            held = (a_generation(member, 5, epoch=epoch),)
            wall.view = with_trainer(with_report(wall.view, member, generations=held), member, state="training")
            wall.view = with_trainer(wall.view, member, epoch=epoch)
        wall.report()
        await looked_again(wall)
        asked = asyncio.create_task(wall.loop.drill())
        order = None
        while order is None:
            await looked_again(wall)
            order = (await wall.loop.hub.orders(wall.pods[0].uid, 0, 1)).drill
        facts = DrillFacts(heal=order.heal, attempt=1, state="verified", step=5, state_digest=order.state_digest)
        wall.view = with_report(wall.view, order.recipient.member, drill=facts)
        wall.report()
        assert (await asked).passed
        standing = [await wall.loop.hub.orders(pod.uid, 0, 1) for pod in wall.pods]
        assert [each.drill for each in standing] == [None] * 3

    over(Wall(a_new_job()), act)


def _knowing_drills(view: JobView) -> JobView:
    for member in view.policy.members():
        view = with_report(view, member, drills=True)
    return view
