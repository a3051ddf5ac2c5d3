"""A pod of several local ranks is seen by its seats, one of a single one as it is."""

import pytest

from checkpointheal.contract.identity import MemberId
from checkpointheal.contract.seats import Seats
from checkpointheal_operator.core.facts import PodFacts

WHOLE = PodFacts(member=MemberId(replica=1), name="trainer-1", uid="a", node="n", finished=True, seen_since=3.0)


def test_a_pod_of_one_seat_is_seen_as_it_is() -> None:
    assert WHOLE.seated(Seats(pod=WHOLE.member)) == (WHOLE,)


@pytest.mark.parametrize(("ranks", "members"), [(2, ["1/0", "1/1"]), (1, ["2/0", "3/0"])])
def test_seats_have_members_names_and_uids_of_their_own_and_the_rest_of_their_pod(
    ranks: int, members: list[str]
) -> None:
    seats = WHOLE.seated(Seats(pod=WHOLE.member, count=2, ranks=ranks))
    assert [str(each.member) for each in seats] == members
    assert [(each.name, each.uid) for each in seats] == [("trainer-1/0", "a"), ("trainer-1/1", "a.1")]
    own = {"member", "name", "uid"}
    assert all(each.model_dump(exclude=own) == WHOLE.model_dump(exclude=own) for each in seats)
