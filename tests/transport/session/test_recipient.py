"""Which offer is believed, what is asked for, and when does a state count as here?"""

import pytest
from hypothesis import given
from hypothesis import strategies as any_

import builders_wire as build
from checkpointheal.errors import Abandoned, BadFrame, BytesDiffer, CheckpointHealError, PeerRefused
from checkpointheal.session import Expected, RecipientSession, Verdict, refusal
from checkpointheal.wire import Offer, Receipt, Refuse, Want, instead

OFFER = build.an_offer()
COUNT = len(OFFER.chunks)
EXPECTED = Expected(build.HEAL, build.ATTEMPT, OFFER.identity)
WRONG = "0" * 32


def a_recipient(state: str, expected: Expected = EXPECTED) -> RecipientSession:
    session = RecipientSession(expected)
    if state != "Waiting":
        session.accept(OFFER)
    if state in ("Receiving", "Loaded", "Aborted"):
        session.compare(OFFER.chunks[1:2] if state == "Aborted" else OFFER.chunks)
    if state == "Aborted":
        for index in session.due:
            session.arrive(index, WRONG)
    if state in ("Loaded", "Aborted"):
        session.verdict()
    assert session.state == state
    return session


ACTS = {
    "accept": lambda session: session.accept(OFFER),
    "compare": lambda session: session.compare(OFFER.chunks),
    "verdict": lambda session: session.verdict(),
}
DUE = {"accept": "Waiting", "compare": "Comparing", "verdict": "Receiving"}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("state", ["Waiting", "Comparing", "Receiving", "Loaded", "Aborted"])
def test_everything_has_its_time(state: str, act: str) -> None:
    session = a_recipient(state)
    if DUE[act] == state:
        ACTS[act](session)
        assert session.state != state
    else:
        with pytest.raises(BadFrame):
            ACTS[act](session)
        assert session.state == state


def test_the_first_word_says_what_it_came_for() -> None:
    hello = a_recipient("Waiting").hello()
    assert (hello.heal, hello.attempt, hello.spoken) == (build.HEAL, build.ATTEMPT, (1,))


def test_there_is_no_offer_before_it_is_accepted() -> None:
    with pytest.raises(BadFrame, match="no offer was accepted while Waiting"):
        _ = a_recipient("Waiting").offer


def relabelled(offer: Offer, **changes: object) -> Offer:
    return offer.model_copy(update={"identity": offer.identity.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("offer", "error", "sentence"),
    [
        (build.an_offer(attempt=2), Abandoned, "the donor offers for heal attempt 2, this is heal attempt 3"),
        (build.an_offer(attempt=4), Abandoned, "the donor offers for heal attempt 4"),
        (build.an_offer(heal="another"), Abandoned, "the donor offers for another attempt 3"),
        (build.an_offer(step=8), Abandoned, "the donor offers step 8, step 7 is assigned"),
        (relabelled(build.an_offer(step=8), step=7), BytesDiffer, "assigned is step 7"),
        (relabelled(OFFER, state_digest=WRONG), BytesDiffer, "but its manifest and chunks make step 7"),
        (relabelled(OFFER, schema_digest=WRONG), BytesDiffer, "but its manifest and chunks make step 7"),
        (build.an_offer(chunks=(WRONG, *OFFER.chunks[1:])), BytesDiffer, "but its manifest and chunks make"),
        (build.an_offer(build.a_schema(3, 1000, 0, 18)), BytesDiffer, "assigned is step 7"),
        (build.a_want(), BadFrame, "Want came while Waiting, Offer was due"),
        (Receipt(state_digest=WRONG), BadFrame, "Receipt came while Waiting"),
    ],
)
def test_an_offer_of_anything_else_is_not_believed(
    offer: Offer, error: type[CheckpointHealError], sentence: str
) -> None:
    session = a_recipient("Waiting")
    with pytest.raises(error, match=sentence):
        session.accept(offer)
    assert session.state == "Waiting"


def test_where_nothing_is_assigned_any_true_offer_is_believed() -> None:
    session = RecipientSession(Expected(build.HEAL, build.ATTEMPT, None))
    assert session.accept(build.an_offer(step=99)).identity.step == 99
    with pytest.raises(BytesDiffer):
        RecipientSession(Expected(build.HEAL, build.ATTEMPT, None)).accept(relabelled(OFFER, state_digest=WRONG))


def test_a_step_may_be_asked_for_where_nothing_else_is_assigned() -> None:
    asking = Expected(build.HEAL, build.ATTEMPT, None, step=8)
    assert RecipientSession(asking).accept(build.an_offer(step=8)).identity.step == 8
    session = RecipientSession(asking)
    with pytest.raises(Abandoned, match="the donor offers step 7, step 8 is assigned"):
        session.accept(OFFER)
    assert session.state == "Waiting"


def test_a_donor_may_refuse() -> None:
    session = a_recipient("Waiting")
    with pytest.raises(PeerRefused, match="SlotDamaged: bytes have changed"):
        session.accept(Refuse(reason="SlotDamaged", message="bytes have changed"))
    assert session.state == "Aborted"


@given(any_.lists(any_.booleans(), max_size=COUNT), any_.integers(0, COUNT))
def test_exactly_what_is_missing_is_wanted(same: list[bool], length: int) -> None:
    """Every pattern of equal and differing chunks, of every length that may lie there."""
    present = [OFFER.chunks[i] if equal else WRONG for i, equal in enumerate(same)][:length]
    missing = [i for i in range(COUNT) if i >= len(present) or present[i] == WRONG]
    session = a_recipient("Comparing")
    want = session.compare(present)
    assert [i for wanted in want.ranges for i in range(wanted.first, wanted.end)] == missing
    assert session.due == tuple(missing)
    assert Want.model_validate(want.model_dump()) == want


@given(any_.sets(any_.integers(0, COUNT - 1)))
def test_a_state_counts_as_here_only_when_every_wanted_chunk_is_the_offered_one(damaged: set[int]) -> None:
    session = a_recipient("Comparing")
    session.compare(())
    for index in session.due:
        found = WRONG if index in damaged else OFFER.chunks[index]
        assert session.arrive(index, found) is (index not in damaged)
    verdict = session.verdict()
    assert verdict.differing == tuple(sorted(damaged))
    if damaged:
        assert isinstance(verdict.frame, Refuse)
        assert verdict.frame.reason == "BytesDiffer"
        assert verdict.frame.message.startswith(f"{len(damaged)} chunks arrived with other bytes")
        assert session.state == "Aborted"
    else:
        assert verdict.frame == Receipt(state_digest=OFFER.identity.state_digest)
        assert session.state == "Loaded"


def test_chunks_come_in_the_order_in_which_they_were_wanted() -> None:
    session = a_recipient("Comparing")
    session.compare(OFFER.chunks[:2])
    with pytest.raises(BadFrame, match="chunk 3 arrived while 2 was due"):
        session.arrive(3, OFFER.chunks[3])
    session.arrive(2, OFFER.chunks[2])
    with pytest.raises(BadFrame, match="chunk 2 arrived while 3 was due"):
        session.arrive(2, OFFER.chunks[2])
    with pytest.raises(BadFrame, match=f"the verdict is asked for while {COUNT - 3} chunks are due"):
        session.verdict()


def test_more_is_wanted_while_the_rest_arrives_and_comes_in_the_order_in_which_it_was_wanted() -> None:
    session = a_recipient("Comparing")
    assert session.want((4, 5)) == build.a_want([4, 6])
    assert session.want((0, 2)) == build.a_want([0, 1], [2, 3])
    assert session.want(()) == build.a_want(), "a sign of life"
    assert session.due == (4, 5, 0, 2)
    for index in session.due:
        session.arrive(index, OFFER.chunks[index])
    assert session.verdict().frame == Receipt(state_digest=OFFER.identity.state_digest)


@pytest.mark.parametrize("state", ["Waiting", "Loaded", "Aborted"])
def test_nothing_is_wanted_before_an_offer_and_after_the_verdict(state: str) -> None:
    with pytest.raises(BadFrame, match=f"Wanted came while {state}"):
        a_recipient(state).want((0,))


def test_nothing_may_arrive_that_was_not_wanted() -> None:
    session = a_recipient("Receiving")
    with pytest.raises(BadFrame, match="chunk 0 arrived while nothing was due"):
        session.arrive(0, OFFER.chunks[0])


def test_a_capped_donor_says_how_patient_to_be() -> None:
    session = RecipientSession(EXPECTED)
    session.accept(build.an_offer(chunk_seconds=2.5))
    assert session.chunk_seconds == 2.5


def test_an_error_is_said_in_the_words_of_the_wire() -> None:
    said = refusal(Abandoned("x" * 5000))
    assert (said.reason, len(said.message)) == ("Abandoned", 4000)


def differing(*begins: bytes) -> Verdict:
    """All chunks differ; the first ones begin so."""
    session = a_recipient("Comparing")
    session.compare(())
    for at, index in enumerate(session.due):
        session.arrive(index, WRONG)
        session.explain(begins[at] if at < len(begins) else b"\0")
    return session.verdict()


def test_chunks_that_merely_differ_are_raised_by_their_numbers() -> None:
    error = differing().error("rank 3: ")
    assert isinstance(error, BytesDiffer)
    assert str(error).startswith(f"rank 3: {COUNT} chunks arrived with other bytes than were offered: 0, 1")


def test_what_a_donor_says_in_place_of_a_chunk_is_why_it_has_none_and_its_first_word_counts() -> None:
    said = [instead(Refuse(reason=reason, message="gone"), 100) for reason in ("PeerLost", "Overdue")]
    verdict = differing(b"\0" * 100, *said)
    assert isinstance(verdict.frame, Refuse)
    assert verdict.frame.reason == "BytesDiffer", "the donor is told as ever"
    error = verdict.error()
    assert isinstance(error, PeerRefused)
    assert str(error) == "PeerLost: gone"


@pytest.mark.parametrize("name", ["Stop2", "stop", "_Stop", "Gestört", "S" * 65])
def test_an_error_whose_name_is_no_reason_is_told_all_the_same(name: str) -> None:
    told = refusal(type(name, (Exception,), {})("the disk is full"))
    assert (told.reason, told.message) == ("Misuse", f"{name}: the disk is full")


def test_a_reason_that_cannot_be_written_as_text_is_told_in_escapes() -> None:
    told = refusal(FileNotFoundError("no model in /data/caf\udce9, naïve"))
    assert (told.reason, told.message) == ("FileNotFoundError", r"no model in /data/caf\udce9, naïve")
    assert len(refusal(ValueError("\udce9" * 4000)).message) == 4000
