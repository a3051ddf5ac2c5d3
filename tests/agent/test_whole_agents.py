"""Whole agents under a gateway over TLS: a state goes from one to the other through the donor's one port."""

import asyncio
import contextlib
import errno
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import torch

import builders_agent as agents
import builders_transfer
import builders_trust as build
from checkpointheal.agent import again, flaws
from checkpointheal.agent.agent import Agent
from checkpointheal.arena import room
from checkpointheal.contract.base import Message
from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.orders import Assignment, Drill, EpochOrder, Orders, Peer
from checkpointheal.contract.report import AgentReport, Flaw, Passed, PrivateHeld
from checkpointheal.contract.signals import Signals
from checkpointheal.contract.trainer import (
    AGENT_SAYS,
    SOCKET_NAME,
    TRAINER_PROTOCOL,
    Applied,
    Hello,
    LeaveEpoch,
    PrivateReady,
    Refused,
    Reserve,
    Reserved,
    Restored,
    Sealed,
    Unkept,
    Wait,
    Waiting,
)
from checkpointheal.errors import ArenaDoesNotFit
from checkpointheal_operator.gateway.authority import Authority

AUTHORITY = Authority.begin(build.GATEWAY, build.NOW)


@dataclass
class Cluster:
    """A gateway, and agents that report to it."""

    gateway: build.Gateway
    home: Path

    def report(self, replica: int) -> AgentReport | None:
        heard = {each.report.pod_uid: each.report for each in self.gateway.hub.heard}
        return heard.get(f"uid-{replica}")

    async def once(self, replica: int, fits: Callable[[AgentReport], bool]) -> AgentReport:
        """The report of this agent, once there is one that fits."""
        while (report := self.report(replica)) is None or not fits(report):
            await asyncio.sleep(0.02)
        return report

    @contextlib.asynccontextmanager
    async def agent(self, replica: int) -> AsyncIterator[Agent]:
        async with aiohttp.ClientSession() as session:
            root = AUTHORITY.trusted(build.NOW)
            agent = Agent(agents.injected_settings(self.home, replica, self.gateway.url, root), session)
            running = asyncio.create_task(agent.run())
            await agents.until(lambda: agent._certificates.ready)
            yield agent
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@contextlib.asynccontextmanager
async def a_cluster(home: Path) -> AsyncIterator[Cluster]:
    tokens = {f"token-{each}": build.a_caller(build.a_holder(each)) for each in (0, 2)}
    async with build.a_gateway(AUTHORITY, **tokens) as gateway:
        yield Cluster(gateway, home)


def peer_of(report: AgentReport) -> Peer:
    known = {"member": report.member, "pod": report.pod, "pod_uid": report.pod_uid, "endpoint": report.endpoint}
    return Peer(**known, start=report.agent)


@pytest.mark.parametrize("channel", ["tls", "gloo"])
def test_a_state_crosses_bit_for_bit_by_the_ordered_channel(
    home: Path, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    identity, slot = builders_transfer.put(home / "arena-0", builders_transfer.a_state(20))
    shown: list[str] = []

    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0) as donor, cluster.agent(2):
            reports = [await cluster.once(each, lambda report: True) for each in (0, 2)]
            await cluster.once(0, lambda report: any(each.identity == identity for each in report.generations))
            giver, taker = map(peer_of, reports)
            assignment = Assignment(
                heal="heal-1",
                attempt=1,
                recipient=taker,
                donors=(giver,),
                deadline=60,
                channel=channel,
                **dict(identity),
            )
            cluster.gateway.hub.order(
                {"uid-0": Orders(revision=1, grants=(assignment,)), "uid-2": Orders(revision=1, assignment=assignment)}
            )
            over = ("verified", "failed")
            done = await cluster.once(2, lambda report: bool(report.transfer and report.transfer.state in over))
            assert done.transfer is not None
            assert (done.transfer.state, done.transfer.message) == ("verified", "")
            assert done.transfer.bytes == done.transfer.total > 0
            await cluster.once(0, lambda report: not report.serving)
            assert donor._certificates.credentials is not None
            shown.append(donor._certificates.credentials.papers.key.splitlines()[1])

    asyncio.run(story())
    assert builders_transfer.data_of(home / "arena-2", 0) == builders_transfer.data_of(home / "arena-0", slot)
    written = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    for key in shown:
        assert key not in caplog.text
        assert key.encode() not in written


@pytest.mark.parametrize("channel", ["tls", "gloo"])
def test_a_drill_crosses_beside_two_trainers_and_leaves_both_agents_as_they_were(home: Path, channel: str) -> None:
    identity, _ = builders_transfer.put(home / "arena-0", builders_transfer.a_state(20))
    builders_transfer.put(home / "arena-2", builders_transfer.a_state(20))

    def held() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(home.glob("arena-*/slot-*"))}

    before = held()

    async def training(replica: int) -> asyncio.StreamWriter:
        _, writer = await asyncio.open_unix_connection(home / f"arena-{replica}" / SOCKET_NAME)
        writer.write(Hello(role="trainer", incarnation="t1", pid=1, epoch=1).model_dump_json().encode() + b"\n")
        return writer

    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0), cluster.agent(2):
            lines = [await training(replica) for replica in (0, 2)]
            reports = [await cluster.once(each, lambda report: report.trainer.state == "training") for each in (0, 2)]
            assert all(report.drills for report in reports)
            await cluster.once(0, lambda report: any(each.identity == identity for each in report.generations))
            giver, taker = map(peer_of, reports)
            known = {"heal": "drill-1", "attempt": 1, "recipient": taker, "donors": (giver,), "deadline": 100}
            drill = Drill(**known, channel=channel, **dict(identity))
            ordered = Orders(revision=1, epoch=EpochOrder(epoch=1, over=False), drill=drill)
            cluster.gateway.hub.order({"uid-0": ordered, "uid-2": ordered})
            over = ("verified", "failed")
            done = await cluster.once(2, lambda report: bool(report.drill and report.drill.state in over))
            assert done.drill is not None
            assert (done.drill.state, done.drill.message) == ("verified", "")
            assert (done.drill.step, done.drill.state_digest) == (identity.step, identity.state_digest)
            assert done.drill.bytes == done.drill.total > 0
            assert (done.transfer, done.attempt_seen, done.trainer.state) == (None, 0, "training")
            gave = await cluster.once(0, lambda report: not report.serving)
            assert (gave.drill, gave.attempt_seen, gave.flaws) == (None, 0, ())
            for line in lines:
                line.close()
                await line.wait_closed()

    asyncio.run(story())
    assert held() == before


def test_a_trainer_that_no_policy_selects_is_told_so_and_waits_on(home: Path) -> None:
    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0):
            reader, writer = await asyncio.open_unix_connection(home / "arena-0" / SOCKET_NAME)
            for word in (Hello(role="trainer", incarnation="t1", pid=1), Wait(request=4, budget=180)):
                writer.write(word.model_dump_json().encode() + b"\n")
            await cluster.once(0, lambda report: report.trainer.state == "waiting")
            cluster.gateway.hub.order({"uid-0": Orders(revision=1, withdrawn=True)})
            said = AGENT_SAYS.validate_json(await reader.readline())
            assert isinstance(said, Waiting)
            assert (said.request, said.reason) == (4, "NoPolicy")
            assert said.message == "no CheckpointHeal selects this pod: apply one; waiting"
            report = await cluster.once(0, lambda report: report.conditions == ("NoPolicy",))
            assert report.trainer.state == "waiting"
            cluster.gateway.hub.order({"uid-0": Orders(revision=2)})
            await cluster.once(0, lambda report: report.conditions == ())
            writer.close()

    asyncio.run(story())


def test_a_held_trainer_stays_held_over_a_restart_of_its_agent_until_the_operator_says_otherwise(home: Path) -> None:
    async def waiting(held: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(home / "arena-0" / SOCKET_NAME)
        for word in (Hello(role="trainer", incarnation="t1", pid=1), Wait(request=4, budget=1, held=held)):
            writer.write(word.model_dump_json().encode() + b"\n")
        return reader, writer

    async def said(reader: asyncio.StreamReader) -> tuple[str, bool]:
        word = AGENT_SAYS.validate_json(await reader.readline())
        assert isinstance(word, Waiting)
        return word.reason, word.hold

    async def story() -> None:
        async with a_cluster(home) as cluster:
            async with cluster.agent(0):
                reader, writer = await waiting(held=False)
                cluster.gateway.hub.order({"uid-0": Orders(revision=1, hold=True)})
                assert await said(reader) == ("Hold", True)
                held = Orders(revision=2, hold=True, reason="Held", message="no arena survived")
                cluster.gateway.hub.order({"uid-0": held})
                assert await said(reader) == ("Held", True)
                writer.close()
            cluster.gateway.hub.order({"uid-0": Orders(revision=3)})
            async with cluster.agent(0):
                reader, writer = await waiting(held=True)
                assert await said(reader) == ("Released", False)
                writer.close()

    asyncio.run(story())


def test_an_agent_tells_what_decides_the_channel_its_torch_and_whether_its_peers_show_certificates(home: Path) -> None:
    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0):
            report = await cluster.once(0, lambda report: True)
            assert torch.__version__.split("+")[0] == report.torch.split("+")[0]
            assert report.certified

    asyncio.run(story())


def test_an_agent_that_is_asked_whether_it_is_there_answers_at_once_and_its_answer_stands(home: Path) -> None:
    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0):
            first = await cluster.once(0, lambda report: report.answered == "")
            cluster.gateway.hub.order({"uid-0": Orders(revision=1, question="heal-1/0")})
            told = await cluster.once(0, lambda report: report.answered == "heal-1/0")
            assert told.sequence > first.sequence
            cluster.gateway.hub.order({"uid-0": Orders(revision=2, hold=True)})
            later = await cluster.once(0, lambda report: report.sequence > told.sequence)
            assert later.answered == "heal-1/0"

    asyncio.run(story())


def test_a_pod_that_is_new_is_left_what_its_neighbours_hold_of_their_own(home: Path) -> None:
    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0) as kept, cluster.agent(2):
            kept._arena.write_private(7, b"stream")
            new = peer_of(await cluster.once(2, lambda report: report.private_held == ()))
            cluster.gateway.hub.order({"uid-0": Orders(revision=1, buddies=(new,))})
            await cluster.once(
                2, lambda report: report.private_held == (PrivateHeld(member=agents.a_member(0), steps=(7,)),)
            )

    asyncio.run(story())


def test_a_buddy_whose_agent_was_started_again_in_its_pod_is_left_it_all_again(home: Path) -> None:
    kept = (PrivateHeld(member=agents.a_member(0), steps=(7,)),)

    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0) as own, cluster.agent(2) as buddy:
            own._arena.write_private(7, b"stream")
            before = peer_of(await cluster.once(2, lambda report: True))
            cluster.gateway.hub.order({"uid-0": Orders(revision=1, buddies=(before,))})
            await cluster.once(2, lambda report: report.private_held == kept)
            buddy._peer_door._keep.forget_after(None)
            await cluster.once(2, lambda report: report.private_held == ())
            again = before.model_copy(update={"start": "another"})
            cluster.gateway.hub.order({"uid-0": Orders(revision=2, buddies=(again,))})
            await cluster.once(2, lambda report: report.private_held == kept)

    asyncio.run(story())


def test_an_arena_that_is_too_small_is_a_flaw_with_the_size_that_would_do_until_it_is_mended(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flaws, "LINGER", 0.0)
    room_left = 5 << 20
    monkeypatch.setattr(room, "medium_left", lambda _folder: room_left)

    async def story() -> None:
        nonlocal room_left
        async with a_cluster(home) as cluster, cluster.agent(0):
            reader, writer = await asyncio.open_unix_connection(home / "arena-0" / SOCKET_NAME)

            async def asks(*said: Message) -> Message:
                for word in said:
                    writer.write(word.model_dump_json().encode() + b"\n")
                return AGENT_SAYS.validate_json(await reader.readline())

            refused = await asks(Hello(role="trainer", incarnation="t1", pid=1), Reserve(slot_bytes=1 << 20))
            assert isinstance(refused, Refused)
            assert (refused.reason, refused.protocol) == ("ArenaDoesNotFit", TRAINER_PROTOCOL)
            report = await cluster.once(0, lambda report: bool(report.flaws))
            assert report.conditions == ("ArenaDoesNotFit",)
            assert [(each.reason, each.arena_bytes) for each in report.flaws] == [("ArenaDoesNotFit", 6 << 20)]
            room_left = 6 << 20
            assert await asks(Reserve(slot_bytes=1 << 20)) == Reserved(protocol=TRAINER_PROTOCOL)
            await cluster.once(0, lambda report: report.flaws == () == report.conditions)
            writer.close()

    asyncio.run(story())


def test_what_the_trainer_could_not_keep_is_a_flaw_until_it_seals_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flaws, "LINGER", 0.0)

    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0):
            _, writer = await asyncio.open_unix_connection(home / "arena-0" / SOCKET_NAME)

            def says(*said: Message) -> None:
                for word in said:
                    writer.write(word.model_dump_json().encode() + b"\n")

            says(
                Hello(role="trainer", incarnation="t1", pid=1, build="torch 2.6"),
                Unkept(reason="GenerationSkipped", message="all read"),
            )
            report = await cluster.once(0, lambda report: bool(report.flaws))
            assert report.flaws == (Flaw(reason="GenerationSkipped", message="all read"),)
            assert report.build == "torch 2.6", "only equal builds must agree on a digest"
            says(Sealed(slot=0, step=2, pause=0))
            await cluster.once(0, lambda report: report.flaws == ())
            says(Unkept(reason="ArenaDoesNotFit", message="no room", arena_bytes=9 << 20))
            report = await cluster.once(0, lambda report: bool(report.flaws))
            assert report.flaws == (Flaw(reason="ArenaDoesNotFit", message="no room", arena_bytes=9 << 20),)
            says(Hello(role="trainer", incarnation="t2", pid=2))
            await cluster.once(0, lambda report: report.flaws == ())
            writer.close()

    asyncio.run(story())


def test_private_parts_do_not_pile_up_though_nothing_is_sealed_and_those_of_what_is_sealed_stay(home: Path) -> None:
    identity, _ = builders_transfer.put(home / "arena-0", builders_transfer.a_state(20))

    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0) as agent:
            _, writer = await asyncio.open_unix_connection(home / "arena-0" / SOCKET_NAME)
            writer.write(Hello(role="trainer", incarnation="t1", pid=1).model_dump_json().encode() + b"\n")
            steps = range(identity.step, identity.step + 9)
            for step in steps:
                file = agent._arena.write_private(step, b"stream")
                writer.write(PrivateReady(step=step, file=file).model_dump_json().encode() + b"\n")
            expected = {identity.step, *steps[-3:]}
            await agents.until(lambda: set(agent._arena.private_steps()) == expected)
            report = await cluster.once(0, lambda report: any(each.private for each in report.generations))
            assert set(report.private_own) == expected
            writer.close()

    asyncio.run(story())


def test_the_earlier_part_that_stands_in_is_told_to_the_trainer_and_stays_for_the_whole_epoch(home: Path) -> None:
    identity, _ = builders_transfer.put(home / "arena-0", builders_transfer.a_state(20))
    part = identity.step - 1
    order = EpochOrder(epoch=1, over=False, step=identity.step, private_step=part, incarnation="t1")

    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0) as agent:
            agent._arena.remove_private(agent._arena.private_steps())
            agent._arena.write_private(part, b"stream")
            reader, writer = await asyncio.open_unix_connection(home / "arena-0" / SOCKET_NAME)

            def says(*words: Message) -> None:
                writer.write(b"".join(each.model_dump_json().encode() + b"\n" for each in words))

            assert (await cluster.once(0, lambda report: True)).behind, "nobody has come who says otherwise"
            says(Hello(role="trainer", incarnation="t1", pid=1, behind=True), Wait(request=1, budget=9))
            report = await cluster.once(0, lambda report: report.trainer.state == "waiting")
            assert (report.behind, report.private_own) == (True, (part,))
            cluster.gateway.hub.order({"uid-0": Orders(revision=1, epoch=order)})
            restored = Restored.model_validate_json(await reader.readline())
            assert (restored.step, restored.private_step) == (identity.step, part)
            steps = range(identity.step + 1, identity.step + 9)
            for step in steps:
                says(PrivateReady(step=step, file=agent._arena.write_private(step, b"stream")))
            await agents.until(lambda: set(agent._arena.private_steps()) == {part, *steps[-3:]})
            says(Hello(role="trainer", incarnation="t2", pid=2))
            await cluster.once(0, lambda report: not report.behind)
            writer.close()

    asyncio.run(story())


def test_a_trainer_that_can_go_on_with_fewer_hears_when_to_leave_and_its_answer_says_who_lacks(home: Path) -> None:
    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0):
            reader, writer = await asyncio.open_unix_connection(home / "arena-0" / SOCKET_NAME)
            for word in (Hello(role="trainer", incarnation="t1", pid=1), Wait(request=4, budget=180, goes_on=True)):
                writer.write(word.model_dump_json().encode() + b"\n")
            await cluster.once(0, lambda report: report.trainer.state == "waiting" and report.trainer.goes_on)
            order = EpochOrder(epoch=3, over=False, members=2, place=1, left_out=(MemberId(replica=1),))
            cluster.gateway.hub.order({"uid-0": Orders(revision=1, epoch=order)})
            answer = AGENT_SAYS.validate_json(await reader.readline())
            assert isinstance(answer, Restored)
            assert (answer.members, answer.left_out, answer.place) == (2, 1, 1)
            applied = Applied(epoch=3, step=None, seconds=0)
            writer.write(applied.model_dump_json().encode() + b"\n")
            await cluster.once(0, lambda report: report.trainer.state == "training")
            leave = order.model_copy(update={"leave": True, "reason": "MemberReturns", "message": "1/0 is back"})
            cluster.gateway.hub.order({"uid-0": Orders(revision=2, epoch=leave)})
            said = AGENT_SAYS.validate_json(await reader.readline())
            assert said == LeaveEpoch(epoch=3, reason="MemberReturns", message="1/0 is back")
            writer.close()

    asyncio.run(story())


def test_what_was_sealed_before_others_went_on_without_it_goes_before_the_answer(home: Path) -> None:
    """The builder seals in epoch 1; a peer's bytes of the same step came later."""
    own, _ = builders_transfer.put(home / "arena-0", builders_transfer.a_state(20))

    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0) as agent:
            _, writer = await asyncio.open_unix_connection(home / "arena-0" / SOCKET_NAME)
            for word in (Hello(role="trainer", incarnation="t1", pid=1), Wait(request=4, budget=180)):
                writer.write(word.model_dump_json().encode() + b"\n")
            await cluster.once(0, lambda report: any(each.identity == own for each in report.generations))
            order = EpochOrder(epoch=3, over=False, step=own.step, missed_since=2, private_begins=True)
            cluster.gateway.hub.order({"uid-0": Orders(revision=1, epoch=order)})
            await agents.until(lambda: agent._orders.epoch)
            agent._look_again()
            assert agent._remembered.numbers.epoch_answered == 0
            none = order.model_copy(update={"epoch": 4, "step": None})
            cluster.gateway.hub.order({"uid-0": Orders(revision=2, epoch=none)})
            await cluster.once(0, lambda report: report.epoch_seen == 4)
            assert agent._arena.seals() == {}
            writer.close()

    asyncio.run(story())


def test_the_first_steps_of_an_epoch_are_reported_with_what_the_loop_told_and_the_arena_held(home: Path) -> None:
    order = EpochOrder(epoch=1, over=False, step=6, probation=2)

    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0) as agent:
            cluster.gateway.hub.order({"uid-0": Orders(revision=1, epoch=order)})
            _, writer = await asyncio.open_unix_connection(home / "arena-0" / SOCKET_NAME)
            identity, slot = builders_transfer.put(home / "arena-0", builders_transfer.a_state(20))
            await agents.until(lambda: agent._orders.epoch)
            told = Signals(loss=2.0, not_finite=("grad_norm",))
            for word in (
                Hello(role="trainer", incarnation="t1", pid=1, epoch=1),
                Sealed(slot=slot, step=identity.step, pause=0, signals=told),
            ):
                writer.write(word.model_dump_json().encode() + b"\n")
            report = await cluster.once(0, lambda report: bool(report.passed) and bool(report.passed[0].state_digest))
            assert report.passed == (Passed(epoch=1, signals=told, **dict(identity)),)
            writer.close()

    asyncio.run(story())


class Room:
    """Of an arena's medium: while there is none, what is handed here fails as a write there would."""

    def __init__(self, is_left: bool) -> None:
        self.is_left = is_left

    def fails_without(self, owner: object, name: str, error: Exception) -> None:
        does = getattr(owner, name)

        def write(*said: object, **named: object) -> object:
            if not self.is_left:
                raise error
            return does(*said, **named)

        setattr(owner, name, write)


async def a_waiting_trainer(cluster: Cluster) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(cluster.home / "arena-0" / SOCKET_NAME)
    for word in (Hello(role="trainer", incarnation="t1", pid=1), Wait(request=1, budget=180)):
        writer.write(word.model_dump_json().encode() + b"\n")
    await cluster.once(0, lambda report: report.trainer.state == "waiting")
    return reader, writer


def test_an_answer_that_cannot_be_remembered_for_want_of_room_is_given_once_there_is_room(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(again, "PAUSE", 0.01)

    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0) as agent:
            reader, writer = await a_waiting_trainer(cluster)
            room = Room(is_left=False)
            room.fails_without(agent._remembered, "grow", OSError(errno.ENOSPC, "No space left on device"))
            cluster.gateway.hub.order({"uid-0": Orders(revision=1, epoch=EpochOrder(epoch=1, over=False))})
            told = await cluster.once(0, lambda report: report.conditions != ())
            assert told.conditions == ("ArenaUnusable",)
            room.is_left = True
            assert isinstance(AGENT_SAYS.validate_json(await reader.readline()), Restored)
            writer.close()

    asyncio.run(story())
    assert caplog.text.count("what is due cannot be done now") == 1, "however often it is tried"


def test_a_private_part_that_came_back_to_no_room_is_a_flaw_and_is_fetched_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "PAUSE", 0.01)
    identity, _ = builders_transfer.put(home / "arena-0", builders_transfer.a_state(20))

    async def story() -> None:
        async with a_cluster(home) as cluster, cluster.agent(0) as agent, cluster.agent(2) as buddy:
            reader, writer = await a_waiting_trainer(cluster)
            buddy._peer_door._keep.put(agents.a_member(0), identity.step, b"stream", ())
            holder = peer_of(await cluster.once(2, lambda report: report.private_held != ()))
            agent._arena.remove_private(agent._arena.private_steps())
            room = Room(is_left=False)
            room.fails_without(agent._arena, "write_private", ArenaDoesNotFit("no room for private part"))
            order = EpochOrder(epoch=1, over=False, step=identity.step)
            cluster.gateway.hub.order({"uid-0": Orders(revision=1, epoch=order, private_from=(holder,))})
            told = await cluster.once(0, lambda report: report.conditions != ())
            assert told.conditions == ("ArenaDoesNotFit",)
            room.is_left = True
            assert isinstance(AGENT_SAYS.validate_json(await reader.readline()), Restored)
            assert agent._arena.read_private(identity.step) == b"stream"
            writer.close()

    asyncio.run(story())


def test_a_look_that_is_still_to_come_ends_with_its_agent(home: Path) -> None:
    async def story() -> None:
        async with a_cluster(home) as cluster:
            async with cluster.agent(0) as agent:
                agent._again.failed(OSError(errno.ENOSPC, "No space left on device"))
                coming = agent._again._next
                assert coming is not None
            assert coming.cancelled()

    asyncio.run(story())


def test_an_older_agent_reads_orders_and_answers_that_name_a_channel_as_gloo() -> None:
    """The words of an earlier build are those of today without what it did not know."""
    old = json.loads(agents.an_assignment(channel="tls").model_dump_json())
    del old["channel"]
    assert Assignment.model_validate(old).channel == "gloo"
