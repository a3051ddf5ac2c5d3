"""Which of several donors hold the state that counts?

More than half of those that said what they hold, once the others could change nothing. Must not know what a state is.
"""

from collections import Counter
from collections.abc import Mapping

from checkpointheal.contract.layout import Identity
from checkpointheal.errors import BytesDiffer, DonorsDisagree


def elected(told: Mapping[int, Identity], awaited: int) -> Identity | None:
    """What a strict majority holds, by rank; None while those that are `awaited` could still change it.

    Raises DonorsDisagree where all have told and none has a majority. Without any donor there is nothing to elect.
    """
    if not told:
        return None
    identity, votes = Counter(told.values()).most_common(1)[0]
    if 2 * votes > len(told) + awaited:
        return identity
    if awaited:
        return None
    raise DonorsDisagree("the donors hold different states, and no majority the same: " + _tally(told))


def require_elected(rank: int, told: Mapping[int, Identity], identity: Identity) -> None:
    """Raises BytesDiffer where this donor holds another state than the elected one."""
    if told[rank] != identity:
        votes = sum(each == identity for each in told.values())
        raise BytesDiffer(
            f"rank {rank} holds {_named(told[rank])}, {votes} of {len(told)} donors hold {_named(identity)}"
        )


def _tally(told: Mapping[int, Identity]) -> str:
    by_state: dict[Identity, list[int]] = {}
    for rank in sorted(told):
        by_state.setdefault(told[rank], []).append(rank)
    return "; ".join(
        f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}: {_named(identity)}"
        for identity, ranks in by_state.items()
    )


def _named(identity: Identity) -> str:
    return f"schema {identity.schema_digest[:8]} and state {identity.state_digest[:8]} of step {identity.step}"
