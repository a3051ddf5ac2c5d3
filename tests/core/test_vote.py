"""Whose bytes are believed, over every way in which peers may disagree."""

import itertools

import pytest

from builders_core import a_generation, a_pod, a_report, digest_of, heard, m
from checkpointheal.contract.layout import Identity
from checkpointheal_operator.core.heal_record import Remembered
from checkpointheal_operator.core.place import Place
from checkpointheal_operator.core.reasons import Reason
from checkpointheal_operator.core.vote import Holder, elect

GOOD, BAD, OTHER = (digest_of(0, 10, note) for note in ("good", "bad", "other"))
MODELS = ("1" * 32, "2" * 32)


def holders(*held: tuple[str, str] | str, schemas: tuple[str, ...] = ()) -> list[Holder]:
    """One per replica; each a digest, or a digest and the build that made it."""
    made = []
    for replica, each in enumerate(held):
        digest, build = (each, "torch") if isinstance(each, str) else each
        member = m(f"{replica}/0")
        schema = schemas[replica] if schemas else MODELS[0]
        generation = a_generation(member, 10, state_digest=digest, schema_digest=schema)
        place = Place(member, a_pod(member, uid=str(replica)), (), heard(a_report(member, 10, build=build)), fresh=True)
        made.append(Holder(place, generation))
    return made


def witness(digest: str, build: str = "torch", schema: str = MODELS[0], uid: str = "gone") -> Remembered:
    identity = Identity(step=10, schema_digest=schema, state_digest=digest)
    return Remembered(member=m("9/0"), pod_uid=uid, build=build, identity=identity)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_strictly_larger_group_wins_and_equal_groups_refuse_each_other(size):
    for digests in itertools.product((GOOD, BAD), repeat=size):
        ballot = elect(holders(*digests), ())
        good, bad = digests.count(GOOD), digests.count(BAD)
        for index, digest in enumerate(digests):
            ours, theirs = (good, bad) if digest == GOOD else (bad, good)
            refusal = None if ours > theirs else Reason.NO_MAJORITY if ours == theirs else Reason.DIGEST_DISAGREES
            assert ballot.refused.get(str(index)) == refusal
            assert (str(index) in ballot.accepted) is (refusal is None)


def test_nobody_has_nothing_to_vote_on():
    assert elect([], [witness(GOOD)]).accepted == {}


@pytest.mark.parametrize(
    ("held", "witnesses", "believed"),
    [
        pytest.param([GOOD, BAD], [witness(GOOD)], {"0"}, id="a lost peer decides a tie"),
        pytest.param([GOOD, BAD], [witness(OTHER)], set(), id="a lost peer that agrees with nobody decides nothing"),
        pytest.param([GOOD, BAD], [witness(GOOD), witness(BAD)], set(), id="lost peers that disagree decide nothing"),
        pytest.param(
            [GOOD, BAD], [witness(GOOD, build="other")], set(), id="a lost peer of another build is not asked"
        ),
        pytest.param([GOOD, BAD, BAD], [witness(GOOD)], {"1", "2"}, id="a majority needs no witness"),
        pytest.param([BAD], [witness(GOOD), witness(GOOD, uid="too")], set(), id="lost peers outnumber who is left"),
        pytest.param([BAD], [witness(GOOD)], {"0"}, id="one against one does not"),
        pytest.param([BAD], [witness(GOOD), witness(GOOD)], {"0"}, id="one that is heard of twice is one"),
        pytest.param(
            [BAD],
            [witness(GOOD), witness(GOOD, uid="too"), witness(BAD, uid="three")],
            {"0"},
            id="nor where one agrees",
        ),
        pytest.param([GOOD, BAD, OTHER], [], set(), id="three that all disagree"),
        pytest.param([(GOOD, "a"), (BAD, "b")], [], {"0", "1"}, id="two builds may differ"),
        pytest.param([(GOOD, "a"), (BAD, "a"), (GOOD, "b")], [], {"0", "2"}, id="another build that agrees counts"),
        pytest.param([(GOOD, "a"), (BAD, "a"), (OTHER, "b")], [], {"2"}, id="another build that differs does not"),
    ],
)
def test_builds_and_lost_peers(held, witnesses, believed):
    assert set(elect(holders(*held), witnesses).accepted) == believed


@pytest.mark.parametrize(
    ("schemas", "witnesses", "refused"),
    [
        pytest.param((0, 0, 1), [], {"2": Reason.SCHEMA_DIFFERS}, id="most run the same model"),
        pytest.param((0, 1), [], {"0": Reason.NO_MAJORITY, "1": Reason.NO_MAJORITY}, id="nobody knows the model"),
        pytest.param((0, 1), [0], {"1": Reason.SCHEMA_DIFFERS}, id="a lost peer ran this model"),
    ],
)
def test_another_model_is_no_peer(schemas, witnesses, refused):
    held = holders(*[GOOD] * len(schemas), schemas=tuple(MODELS[each] for each in schemas))
    assert elect(held, [witness(GOOD, schema=MODELS[each]) for each in witnesses]).refused == refused


def test_the_order_of_holders_means_nothing():
    held = holders((GOOD, "a"), (BAD, "a"), (GOOD, "b"), (OTHER, "b"))
    outcomes = [elect(list(order), [witness(BAD, "a")]) for order in itertools.permutations(held)]
    assert all(dict(each.accepted) == dict(outcomes[0].accepted) for each in outcomes)


def test_a_holder_without_pod_or_report_has_no_name():
    nobody = Holder(Place(m("0/0")), a_generation(m("0/0"), 10))
    assert (nobody.uid, nobody.build) == ("", "")
