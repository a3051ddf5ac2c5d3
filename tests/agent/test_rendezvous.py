"""Members of one epoch meet over their agents; whoever belongs to another epoch meets nobody."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import builders_agent as build
from checkpointheal.agent import rendezvous as room
from checkpointheal.agent.keep import Keep
from checkpointheal.agent.peer_door import PeerDoor, Peers
from checkpointheal.agent.peer_trust import ByKey
from checkpointheal.agent.rendezvous import Board, Rendezvous
from checkpointheal.contract.orders import NOT_KNOWN, EpochOrder, Orders, Peer
from checkpointheal.contract.trainer import StoreAsk, StoreSaid
from checkpointheal.errors import PeerLost, PeerRefused


def ask(do: str, key: str = "0", value: bytes = b"", epoch: int = 3, number: int = 1) -> StoreAsk:
    return StoreAsk(number=number, epoch=epoch, do=do, key=key, value=value)


def order(host: Peer | None, epoch: int = 3, *, over: bool = False) -> Orders:
    return Orders(revision=1, epoch=EpochOrder(epoch=epoch, over=over, host=host))


async def nobody(_host: Peer, _ask: StoreAsk) -> StoreSaid:
    raise AssertionError("the host is this very agent")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "RETRY_SECONDS", 0.001)


def test_what_one_sets_another_gets() -> None:
    async def story() -> None:
        board = Board(lambda: 3)
        assert (await board.answer(ask("check"))).value is None
        await board.answer(ask("set", value=b"\x00here\xff"))
        assert (await board.answer(ask("get"))).value == b"\x00here\xff"
        assert [(await board.answer(ask("add", "n", b"2"))).value for _ in range(2)] == [b"2", b"4"]

    asyncio.run(story())


def test_who_gets_waits_until_somebody_sets() -> None:
    async def story() -> None:
        board = Board(lambda: 3)
        waits = asyncio.create_task(board.answer(ask("get")))
        await asyncio.sleep(0)
        assert not waits.done()
        await board.answer(ask("set", value=b"here"))
        assert (await waits).value == b"here"

    asyncio.run(story())


def test_who_waits_too_long_is_told_that_there_is_nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "HOLD_SECONDS", 0.0)
    said = asyncio.run(Board(lambda: 3).answer(ask("get")))
    assert (said.value, said.reason) == (None, "")


@pytest.mark.parametrize(("held", "more"), [(b"here", b"1"), (b"1", b"here"), (b"1", b"9" * 64), (b"", b"1")])
def test_what_is_no_number_is_not_counted(held: bytes, more: bytes) -> None:
    async def story() -> None:
        board = Board(lambda: 3)
        await board.answer(ask("set", value=held))
        assert (await board.answer(ask("add", value=more))).reason == "NotANumber"

    asyncio.run(story())


def test_a_newer_epoch_ends_the_one_before_it_and_nothing_of_it_is_left() -> None:
    async def story() -> None:
        named = [3]
        board = Board(lambda: named[-1])
        await board.answer(ask("set", value=b"old"))
        waits = asyncio.create_task(board.answer(ask("get", "never")))
        await asyncio.sleep(0)
        named.append(4)
        assert (await board.answer(ask("check", epoch=4))).value is None
        assert (await waits).reason == "EpochIsOver"
        for do in ("get", "check", "set", "add"):
            assert (await board.answer(ask(do, value=b"1"))).reason == "EpochIsOver"

    asyncio.run(story())


def test_a_rendezvous_is_for_addresses_not_for_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LIMIT_BYTES", 10 + room.EACH_COSTS)

    async def story() -> None:
        board = Board(lambda: 3)
        assert (await board.answer(ask("set", value=bytes(9)))).reason == ""
        assert (await board.answer(ask("set", value=bytes(9)))).reason == ""
        assert (await board.answer(ask("set", "1", bytes(1)))).reason == "RendezvousFull"

    asyncio.run(story())


def test_keys_that_say_nothing_cost_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LIMIT_BYTES", 1 << 16)

    async def story() -> None:
        board, taken = Board(lambda: 3), 0
        while (await board.answer(ask("set", str(taken)))).reason == "":
            taken += 1
        assert 100 < taken < 300

    asyncio.run(story())


@pytest.mark.parametrize("word", ["set", "add", "check", "get"])
@pytest.mark.parametrize("named", [0, 3], ids=["without orders", "in an older epoch"])
def test_a_guest_that_names_an_epoch_which_the_host_has_not_heard_of_ends_nobody_elses(
    word: str, named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "HOLD_SECONDS", 0.01)

    async def story() -> None:
        orders = [3]
        board = Board(lambda: orders[-1])
        await board.answer(ask("set", value=b"here"))
        orders.append(named)
        said = await board.answer(ask(word, value=b"1", epoch=1 << 53))
        assert said.reason == ("" if word == "get" else "EpochNotBegun")
        assert said.value is None
        assert (await board.answer(ask("get"))).value == b"here"
        orders.append(4)
        assert (await board.answer(ask("set", epoch=4))).reason == ""

    asyncio.run(story())


def test_a_guest_that_hears_of_an_epoch_before_the_host_does_is_answered_as_soon_as_the_host_does() -> None:
    async def story() -> None:
        orders = [3]
        board = Board(lambda: orders[-1])
        await board.answer(ask("set", value=b"old"))
        early = asyncio.create_task(board.answer(ask("add", "n", b"2", epoch=4)))
        await asyncio.sleep(0.01)
        assert not early.done()
        orders.append(4)
        assert (await early).value == b"2"

    asyncio.run(story())


def test_a_guest_of_an_epoch_that_the_host_has_not_heard_of_for_long_says_its_word_again_and_counts_once() -> None:
    said: list[StoreAsk] = []
    board = Board(lambda: 3 if len(said) > 1 else 2)

    async def call(_host: Peer, word: StoreAsk) -> StoreSaid:
        said.append(word)
        return await board.answer(word)

    async def story() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(room, "HOLD_SECONDS", 0.01)
            meeting = Rendezvous("uid-0", lambda: order(build.a_peer(1)))
            assert (await meeting.ask(ask("add", value=b"1"), call)).value == b"1"
        assert len(said) == 2

    asyncio.run(story())


@pytest.mark.parametrize(
    "standing",
    [
        Orders(revision=1),
        order(build.a_peer(1), epoch=2),
        order(build.a_peer(1), epoch=4),
        order(build.a_peer(1), over=True),
    ],
    ids=["no epoch", "an older one", "a newer one", "over"],
)
def test_a_trainer_of_another_epoch_meets_nobody(standing: Orders) -> None:
    said = asyncio.run(Rendezvous("uid-1", lambda: standing).ask(ask("set"), nobody))
    assert said.reason == "EpochIsOver"


def test_the_host_answers_its_own_trainer_itself() -> None:
    async def story() -> None:
        meeting = Rendezvous("uid-1", lambda: order(build.a_peer(1)))
        await meeting.ask(ask("set", value=b"here"), nobody)
        assert (await meeting.board.answer(ask("get"))).value == b"here"

    asyncio.run(story())


def test_a_host_that_is_not_known_or_does_not_answer_is_asked_again_until_the_epoch_is_over() -> None:
    stands = iter([order(None), order(build.a_peer(1)), order(build.a_peer(1)), order(build.a_peer(1), over=True)])
    calls: list[StoreAsk] = []

    async def gone(_host: Peer, said: StoreAsk) -> StoreSaid:
        calls.append(said)
        if len(calls) == 1:
            raise PeerLost("its agent restarts")
        return StoreSaid(number=said.number, epoch=said.epoch)

    said = asyncio.run(Rendezvous("uid-0", lambda: next(stands)).ask(ask("get"), gone))
    assert (len(calls), said.reason) == (2, "EpochIsOver")


def test_an_agent_that_has_just_started_does_not_take_that_it_has_no_orders_yet_for_an_end() -> None:
    stands = iter([Orders(revision=NOT_KNOWN), Orders(revision=NOT_KNOWN)])
    meeting = Rendezvous("uid-1", lambda: next(stands, order(build.a_peer(1))))
    said = asyncio.run(meeting.ask(ask("set", value=b"here"), nobody))
    assert (said.reason, next(stands, None)) == ("", None)


def test_a_count_is_never_said_twice() -> None:
    async def gone(_host: Peer, _said: StoreAsk) -> StoreSaid:
        raise PeerLost("it may have counted")

    said = asyncio.run(Rendezvous("uid-0", lambda: order(build.a_peer(1))).ask(ask("add", value=b"1"), gone))
    assert said.reason == "PeerLost"


def test_a_host_that_knows_no_rendezvous_is_told_by_name() -> None:
    async def refuses(_host: Peer, _said: StoreAsk) -> StoreSaid:
        raise PeerRefused("NoRendezvous", "an older build")

    said = asyncio.run(Rendezvous("uid-0", lambda: order(build.a_peer(1))).ask(ask("set"), refuses))
    assert said.reason == "NoRendezvous"


async def answers_something_else(_ask: StoreAsk) -> Any:
    return order(None)


def test_agents_pass_words_on_as_they_are(tmp_path: Path) -> None:
    async def story() -> None:
        door, board = PeerDoor(ByKey(build.KEY), Keep(), 1 << 20), Board(lambda: 3)
        endpoint = await door.open("127.0.0.1", 0)
        host = build.a_peer(1, endpoint.port)
        async with aiohttp.ClientSession() as session:
            peers = Peers(session, ByKey(build.KEY))
            with pytest.raises(PeerRefused, match="answered 404: its agent may be an older build"):
                await peers.ask_store(host, ask("check"))
            door.answer_store = answers_something_else
            with pytest.raises(PeerRefused, match="something that is no answer"):
                await peers.ask_store(host, ask("check"))
            door.answer_store = board.answer
            guest = Rendezvous("uid-0", lambda: order(host))
            await guest.ask(ask("set", value=b"\x00\xff"), peers.ask_store)
            assert (await guest.ask(ask("get", number=7), peers.ask_store)).value == b"\x00\xff"
            bad = await session.post(
                f"http://{endpoint}/v1/store", data=b"{}", headers=ByKey(build.KEY).way_to(host).headers
            )
            assert bad.status == 400
        await door.close()

    asyncio.run(story())
