"""A recipient carries one assignment out and always says how it went."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import builders_agent as build
from checkpointheal.agent import taking as taking_module
from checkpointheal.agent.errand import Ended, Failed, Progress, Secured
from checkpointheal.agent.taking import Taking
from checkpointheal.agent.tls import Papers
from checkpointheal.contract.orders import Peer
from checkpointheal.contract.peer import Ask, Meet
from checkpointheal.contract.report import TransferFacts
from checkpointheal.contract.trust import Holder
from checkpointheal.errors import CheckpointHealError, PeerLost, PeerRefused

PAPERS = Papers(
    holder=Holder(job="job", member=build.a_member(2), pod_uid="uid-2"), roots="roots", chain="chain", key="key"
)
ENDED = Ended(
    bytes=90,
    total=100,
    hold_seconds=1,
    transfer_seconds=2,
    verify_seconds=3,
    step=7,
    state_digest=build.STATE.state_digest,
)


class Peers:
    """One donor, with its answer."""

    def __init__(self, answer: Meet | CheckpointHealError) -> None:
        self.answer = answer
        self.asked: list[tuple[Peer, Ask]] = []

    async def ask(self, donor: Peer, ask: Ask) -> Meet:
        self.asked.append((donor, ask))
        if isinstance(self.answer, CheckpointHealError):
            raise self.answer
        return self.answer


MEET = Meet(store_port=4711, prefix="heal-1/1", total=0)


def a_taking(arena: Path, transfers: build.Transfers, answer: Meet | CheckpointHealError = MEET) -> tuple[Taking, Any]:
    told: list[TransferFacts | None] = []
    peers: Any = Peers(answer)
    moving: Any = transfers
    taking = Taking(build.some_settings(arena, 2), peers, moving, lambda: told.append(taking.facts))
    return taking, told


def test_a_whole_transfer_is_told_from_the_question_to_the_verdict(tmp_path: Path) -> None:
    transfers = build.Transfers(Progress(bytes=40, total=100), ENDED)
    taking, told = a_taking(tmp_path, transfers)
    assert asyncio.run(taking.fetch(build.an_assignment(), 3)) is True
    assert [facts.state for facts in told] == ["asking", "receiving", "receiving", "verified"]
    assert [facts.bytes for facts in told] == [0, 0, 40, 90]
    assert (taking.facts.hold_seconds, taking.facts.transfer_seconds, taking.facts.verify_seconds) == (1, 2, 3)
    assert taking.facts.donor == "trainer-0"


def test_every_line_about_a_transfer_names_its_heal_and_attempt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="checkpointheal.agent")
    for transfers in (build.Transfers(ENDED), build.Transfers(Failed(reason="DonorFailed", message="it died"))):
        taking, _ = a_taking(tmp_path, transfers)
        asyncio.run(taking.fetch(build.an_assignment(attempt=5), 3))
    about = [record.__dict__["about"] for record in caplog.records]
    named = {"heal": build.an_assignment().heal, "attempt": 5}
    assert about == [named, named, named, named | {"reason": "DonorFailed"}]


def test_the_errand_meets_the_donor_where_it_said(tmp_path: Path) -> None:
    transfers = build.Transfers(ENDED)
    taking, _ = a_taking(tmp_path, transfers)
    asyncio.run(taking.fetch(build.an_assignment(attempt=5), 3))
    (errand,) = transfers.errands
    assert (errand.side, errand.host, errand.store_port, errand.prefix) == ("recipient", "127.0.0.1", 4711, "heal-1/1")
    assert (errand.attempt, errand.epoch, errand.identity) == (5, 3, build.STATE)


def test_over_tls_the_errand_goes_to_the_donors_door_with_the_ticket_and_for_the_assigned_pod(tmp_path: Path) -> None:
    transfers = build.Transfers(ENDED)
    taking, _ = a_taking(tmp_path, transfers, Meet(channel="tls", ticket="ab" * 16, prefix="heal-1/1", total=0))
    taking.papers = lambda: PAPERS
    assert asyncio.run(taking.fetch(build.an_assignment(donor_port=8471, channel="tls"), 3)) is True
    (errand,) = transfers.errands
    assert (errand.host, errand.store_port) == ("127.0.0.1", 8471)
    assert errand.secured == Secured(papers=PAPERS, peer_uid="uid-0", ticket="ab" * 16)
    assert [asked.channel for _, asked in taking._peers.asked] == ["tls"]


@pytest.mark.parametrize(
    ("channel", "certified", "answer", "reason"),
    [
        ("tls", True, MEET, "ChannelDiffers"),
        ("gloo", True, Meet(channel="tls", ticket="ab" * 16, prefix="heal-1/1", total=0), "ChannelDiffers"),
        ("tls", False, MEET, "NoCertificate"),
        ("carrier pigeon", True, MEET, "UnknownChannel"),
    ],
    ids=["an older donor", "a donor that means another", "no certificate", "a newer operator"],
)
def test_bytes_cross_over_the_assigned_channel_or_not_at_all(
    tmp_path: Path, channel: str, certified: bool, answer: Meet, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking_module, "CERTIFIED_WITHIN", 0.0)
    transfers = build.Transfers(ENDED)
    taking, _ = a_taking(tmp_path, transfers, answer)
    taking.papers = lambda: PAPERS if certified else None
    assert asyncio.run(taking.fetch(build.an_assignment(channel=channel), 3)) is False
    assert (taking.facts.reason, transfers.errands) == (reason, [])


def test_an_agent_that_is_certified_a_moment_after_it_was_assigned_takes_the_state_all_the_same(tmp_path: Path) -> None:
    transfers = build.Transfers(ENDED)
    taking, _ = a_taking(tmp_path, transfers, Meet(channel="tls", ticket="ab" * 16, prefix="heal-1/1", total=0))
    shown = iter([None, None, None])
    taking.papers = lambda: next(shown, PAPERS)
    assert asyncio.run(taking.fetch(build.an_assignment(channel="tls"), 3)) is True


@pytest.mark.parametrize(
    ("answer", "script", "reason"),
    [
        (PeerLost("gone"), (), "PeerLost"),
        (PeerRefused("NoGrant", "not yours"), (), "PeerRefused"),
        (MEET, (Progress(bytes=4, total=9), Failed(reason="PeerLost", message="it died")), "PeerLost"),
        (MEET, (Failed(reason="BytesDiffer", message="chunk 3"),), "BytesDiffer"),
        (MEET, (Progress(bytes=4, total=9),), "TransferDied"),
    ],
    ids=["the donor is gone", "the donor refuses", "it dies on the way", "its bytes are wrong", "the child is silent"],
)
def test_whatever_goes_wrong_is_a_failed_attempt_with_its_reason(
    tmp_path: Path, answer: Meet | CheckpointHealError, script: tuple[Any, ...], reason: str
) -> None:
    taking, told = a_taking(tmp_path, build.Transfers(*script), answer)
    assert asyncio.run(taking.fetch(build.an_assignment(), 3)) is False
    assert (taking.facts.state, taking.facts.reason) == ("failed", reason)
    assert taking.facts.message
    assert told[-1] == taking.facts


def test_an_attempt_that_was_called_off_is_a_failed_one(tmp_path: Path) -> None:
    async def story() -> None:
        transfers = build.Transfers(Progress(bytes=4, total=9), ends=False)
        taking, _ = a_taking(tmp_path, transfers)
        task = asyncio.create_task(taking.fetch(build.an_assignment(), 3))
        while not (taking.facts and taking.facts.bytes):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        taking.abandoned(build.an_assignment())
        assert transfers.ended == 1
        assert (taking.facts.state, taking.facts.reason, taking.facts.bytes) == ("failed", "Abandoned", 4)

    asyncio.run(story())


def test_calling_off_what_has_ended_changes_nothing(tmp_path: Path) -> None:
    taking, _ = a_taking(tmp_path, build.Transfers(ENDED))
    taking.abandoned(build.an_assignment())
    assert taking.facts is None
    asyncio.run(taking.fetch(build.an_assignment(), 3))
    taking.abandoned(build.an_assignment())
    assert taking.facts is not None
    assert taking.facts.state == "verified"
