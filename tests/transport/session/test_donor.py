"""What does a donor answer to each frame, in each state?"""

import pytest

import builders_wire as build
from checkpointheal.errors import Abandoned, BadFrame, BytesDiffer, CheckpointHealError, PeerRefused, UnknownVersion
from checkpointheal.session import DonorSession
from checkpointheal.wire import Frame, Hello, Receipt, Refuse

OFFER = build.an_offer()
HELLO = Hello(heal=build.HEAL, attempt=build.ATTEMPT, spoken=(1,))
RECEIPT = Receipt(state_digest=OFFER.identity.state_digest)
FRAMES = {
    "Hello": HELLO,
    "Offer": OFFER,
    "Want": build.a_want([0, 2]),
    "Receipt": RECEIPT,
    "Refuse": Refuse(reason="ArenaDoesNotFit", message="no room"),
}


def a_donor(state: str) -> DonorSession:
    session = DonorSession(OFFER)
    if state in ("Holding", "Streaming", "Released"):
        session.greet(HELLO)
    if state in ("Streaming", "Released"):
        session.wanted(build.a_want())
    if state == "Released":
        session.release(RECEIPT)
    assert session.state == state
    return session


def hear(session: DonorSession, act: str, frame: Frame) -> object:
    acts = {"greet": session.greet, "wanted": session.wanted, "release": session.release, "asked": session.asked}
    return acts[act](frame)


NEXT = {
    ("Idle", "greet", "Hello"): "Holding",
    ("Holding", "wanted", "Want"): "Streaming",
    ("Holding", "asked", "Want"): "Streaming",
    ("Streaming", "wanted", "Want"): "Streaming",
    ("Streaming", "asked", "Want"): "Streaming",
    ("Streaming", "release", "Receipt"): "Released",
    ("Streaming", "asked", "Receipt"): "Released",
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("act", ["greet", "wanted", "release", "asked"])
@pytest.mark.parametrize("state", ["Idle", "Holding", "Streaming", "Released"])
def test_only_the_frame_that_is_due_goes_on_and_a_refusal_ends(state: str, act: str, name: str) -> None:
    """Every state, everything that the shell may ask, every frame."""
    session = a_donor(state)
    if (state, act, name) in NEXT:
        hear(session, act, FRAMES[name])
        assert session.state == NEXT[state, act, name]
    elif name == "Refuse" and state != "Released":
        with pytest.raises(PeerRefused, match="ArenaDoesNotFit: no room") as raised:
            hear(session, act, FRAMES[name])
        assert (session.state, raised.value.refusal) == ("Aborted", "ArenaDoesNotFit")
    else:
        with pytest.raises(BadFrame):
            hear(session, act, FRAMES[name])
        assert session.state == state


def test_a_refusal_names_what_came_and_what_was_due() -> None:
    with pytest.raises(BadFrame, match="Offer came while Idle, Hello was due"):
        a_donor("Idle").greet(OFFER)
    with pytest.raises(BadFrame, match="Receipt came while Holding, where Refuse or Want may come"):
        a_donor("Holding").asked(RECEIPT)
    with pytest.raises(BadFrame, match="Hello came while Released, where nothing may come"):
        a_donor("Released").greet(HELLO)


@pytest.mark.parametrize(
    ("hello", "error"),
    [
        (HELLO.model_copy(update={"attempt": 2}), Abandoned),
        (HELLO.model_copy(update={"attempt": 4}), Abandoned),
        (HELLO.model_copy(update={"heal": "another"}), Abandoned),
        (HELLO.model_copy(update={"spoken": (2, 3)}), UnknownVersion),
    ],
    ids=["an older attempt", "a newer attempt", "another heal", "other versions"],
)
def test_nothing_is_offered_to_who_came_for_something_else(hello: Hello, error: type[CheckpointHealError]) -> None:
    session = a_donor("Idle")
    with pytest.raises(error):
        session.greet(hello)
    assert session.state == "Idle"


def test_the_agreed_version_is_the_highest_common_one() -> None:
    session = a_donor("Idle")
    session.greet(HELLO.model_copy(update={"spoken": (7, 1)}))
    assert session.version == 1


def test_wanted_chunks_are_sent_in_order() -> None:
    assert a_donor("Holding").wanted(build.a_want([0, 2], [5, 6], [9, 12])) == (0, 1, 5, 9, 10, 11)


def test_chunks_are_wanted_again_and_again_until_the_receipt() -> None:
    session = a_donor("Holding")
    assert session.asked(build.a_want([2, 4])) == (2, 3)
    assert session.asked(build.a_want()) == (), "a sign of life"
    assert session.asked(build.a_want([0, 1], [5, 6])) == (0, 5)
    assert session.asked(RECEIPT) is None
    assert session.state == "Released"


def test_no_chunk_is_given_a_second_time() -> None:
    session = a_donor("Holding")
    session.wanted(build.a_want([2, 4]))
    with pytest.raises(BadFrame, match="chunk 3 is wanted a second time"):
        session.wanted(build.a_want([3, 6]))
    assert session.wanted(build.a_want([4, 6])) == (4, 5)


def test_nothing_may_be_wanted() -> None:
    assert a_donor("Holding").wanted(build.a_want()) == ()


def test_a_chunk_that_does_not_exist_is_not_wanted() -> None:
    count, session = len(OFFER.chunks), a_donor("Holding")
    with pytest.raises(BadFrame, match=f"chunk {count} is wanted of {count}"):
        session.wanted(build.a_want([0, count + 1]))
    assert session.state == "Holding"
    assert session.wanted(build.a_want([0, count])) == tuple(range(count))


def test_a_receipt_for_another_state_frees_nobody() -> None:
    session = a_donor("Streaming")
    with pytest.raises(BytesDiffer, match="thanks for state 0000"):
        session.release(Receipt(state_digest="0" * 32))
    assert session.state == "Streaming"
