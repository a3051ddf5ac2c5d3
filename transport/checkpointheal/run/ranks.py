"""What does each trainer of a pod find in its environment, as from torchrun, and whose agents does a `run` speak to?

Pure: from the environment to variables and folders. Must not know processes.
"""

from collections.abc import Mapping
from pathlib import Path

from checkpointheal.contract.seats import Seats, seat_folder
from checkpointheal.errors import Misuse

ARENA = "CHECKPOINTHEAL_ARENA"


def variables(environment: Mapping[str, str], count: int) -> tuple[dict[str, str], ...]:
    """By local rank. `RANK` only where the pod's place is known, or where no other pod takes part.

    Raises Misuse where the pod has another number of seats.
    """
    seats = _seats(environment)
    if seats is not None and seats.count != count:
        raise Misuse(
            f"this pod has {seats.count} local ranks by its annotation checkpointheal.dev/local-ranks, and "
            f"--nproc-per-node is {count}: they must be equal"
        )
    local = ({"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count)} for rank in range(count))
    return tuple(each | _global(environment, seats, rank, count) for rank, each in enumerate(local))


def arenas(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Of the trainer's own seat; of all the pod's where a launcher below this `run` starts the trainers of all."""
    arena, seats = environment.get(ARENA), _seats(environment)
    if not arena or seats is None:
        return (Path(arena),) if arena else ()
    own = environment.get("LOCAL_RANK", "")
    ranks = [int(own)] if own.isdecimal() and int(own) < seats.count else range(seats.count)
    return tuple(seat_folder(Path(arena), rank, seats.count) for rank in ranks)


def _seats(environment: Mapping[str, str]) -> Seats | None:
    """None where nobody has injected anything. Raises Misuse."""
    if not environment.get(ARENA):
        return None
    try:
        return Seats.told(environment)
    except ValueError as error:
        raise Misuse(f"a CHECKPOINTHEAL_ variable cannot be read: {error}") from error


def _global(environment: Mapping[str, str], seats: Seats | None, local_rank: int, count: int) -> dict[str, str]:
    if seats is not None:
        member = seats.member(local_rank)
        return {"RANK": str(member.replica * seats.ranks + member.rank)}
    if environment.get("WORLD_SIZE", str(count)) == str(count):
        return {"RANK": str(local_rank), "WORLD_SIZE": str(count)}
    return {}
