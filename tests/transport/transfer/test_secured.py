"""Over TLS a state goes from the very pod that was assigned to the very pod that it was granted to, or nowhere."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import builders_transfer as build
from builders_trust import NOW
from checkpointheal.agent.errand import Ended, Failed
from checkpointheal.agent.tls import Papers
from checkpointheal.arena import Arena
from checkpointheal_operator.gateway.authority import Authority
from checkpointheal_operator.gateway.authority.terms import DAY


@pytest.fixture(scope="module")
def transfers() -> Iterator[build.SecuredTransfers]:
    transfers = build.SecuredTransfers()
    asyncio.run(transfers.warm_up())
    yield transfers
    transfers.close()


def cross(home: Path, stage: Callable[[], build.Stage], mebibytes: int = 1) -> tuple[build.Side, build.Side]:
    identity, slot = build.put(home / "a", build.a_state(mebibytes))
    giving = build.an_errand("donor", home / "a", identity, slot=slot, deadline=20)
    taking = build.an_errand("recipient", home / "b", identity, deadline=20)

    async def story() -> tuple[build.Side, build.Side]:
        return await stage().meet(giving, taking)

    return asyncio.run(story())


def self_made(holder: build.Holder) -> Papers:
    """Believes whom the others believe, and bears all the right names under a root of its own."""
    own = build.papers(holder, authority=Authority.begin((), NOW))
    return own.model_copy(update={"roots": build.papers(holder).roots})


WRONG: dict[str, Callable[[build.Holder], Papers]] = {
    "of another pod": lambda holder: build.papers(holder.model_copy(update={"pod_uid": "uid-9"})),
    "over": lambda holder: build.papers(holder, NOW - 2 * DAY),
    "not begun": lambda holder: build.papers(holder, NOW + 2 * DAY),
    "made by itself": self_made,
}


@pytest.mark.parametrize(
    "taker",
    [
        *WRONG.values(),
        lambda holder: build.papers(holder.model_copy(update={"job": "other"})),
        lambda holder: build.papers(holder.model_copy(update={"namespace": "other"})),
    ],
    ids=[*WRONG, "of another job", "of another namespace"],
)
def test_nothing_is_given_to_a_recipient_whose_certificate_is_not_the_granted_one(
    transfers: build.SecuredTransfers, home: Path, taker: Callable[[build.Holder], Papers]
) -> None:
    donor, recipient = cross(home, lambda: build.Stage(transfers, taker=taker(build.TAKER)))
    assert donor.outcome == "UntrustedPeer"
    assert recipient.outcome == "PeerLost"
    assert (donor.crossed, recipient.crossed) == (0, 0)
    assert Arena.open(home / "b").seals() == {}


@pytest.mark.parametrize("giver", WRONG.values(), ids=WRONG)
def test_nothing_is_taken_from_a_donor_whose_certificate_is_not_the_assigned_one(
    transfers: build.SecuredTransfers, home: Path, giver: Callable[[build.Holder], Papers]
) -> None:
    donor, recipient = cross(home, lambda: build.Stage(transfers, giver=giver(build.GIVER)))
    assert recipient.outcome == "UntrustedPeer"
    assert donor.outcome == "PeerLost"
    assert (donor.crossed, recipient.crossed) == (0, 0)


def test_a_door_at_an_address_of_ipv6_is_found(transfers: build.SecuredTransfers, home: Path) -> None:
    donor, recipient = cross(home, lambda: build.Stage(transfers, host="::1"), 17)
    assert isinstance(donor.last, Ended)
    assert isinstance(recipient.last, Ended)
    assert build.data_of(home / "a", 0) == build.data_of(home / "b", 0)


def test_a_donor_for_whom_nobody_comes_lets_its_slot_go(transfers: build.SecuredTransfers, home: Path) -> None:
    identity, slot = build.put(home / "a", build.a_state(1))
    errand = build.an_errand("donor", home / "a", identity, slot=slot, deadline=0.2)

    async def story() -> build.Side:
        stage = build.Stage(transfers)
        side = await stage.start(errand)
        await stage.join()
        return side

    assert asyncio.run(story()).outcome == "Overdue"
    assert Arena.open(home / "a").begin(keep=[1 - slot]) is not None


def test_an_answer_without_a_ticket_is_no_answer(transfers: build.SecuredTransfers, home: Path) -> None:
    identity, _ = build.put(home / "a", build.a_state(1))
    secured = build.Secured(papers=build.papers(build.TAKER), peer_uid=build.GIVER.pod_uid, ticket="")
    errand = build.an_errand("recipient", home / "b", identity, secured=secured, store_port=1)
    side = asyncio.run(build.Stage(transfers).start(errand))
    assert isinstance(side.last, Failed)
    assert side.outcome == "BadFrame"


def test_an_errand_that_is_shown_or_refused_shows_no_key(home: Path) -> None:
    identity, _ = build.put(home / "a", build.a_state(1))
    shown = build.papers(build.GIVER)
    secured = build.Secured(papers=shown, peer_uid="uid-2", ticket="ab" * 16)
    errand = build.an_errand("donor", home / "a", identity, secured=secured)
    secret = shown.key.splitlines()[1]
    with pytest.raises(ValueError, match="Errand") as refused:
        build.Errand.model_validate_json(errand.model_dump_json().replace('"attempt":1', '"attempt":0'))
    for told in (repr(errand), str(refused.value)):
        assert secret not in told
        assert "ab" * 16 not in told
    assert build.Errand.model_validate_json(errand.model_dump_json()) == errand
