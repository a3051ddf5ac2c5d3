"""What the guided search tries (`make fuzz`) holds for every input near those that it begins with, unguided too."""

from random import Random

import pytest
from fuzz import scripts
from fuzz.states import KNOWN
from fuzz.targets import AIMS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as any_

from builders_classes import registered

LIMIT = 1 << 14


def as_bytes(random: Random, raw: bytes) -> bytes:
    """A few bytes changed, doubled or taken away."""
    changed = bytearray(raw or b"\0")
    at, count = random.randrange(len(changed)), random.randrange(8)
    changed[at : at + count] = random.choice((b"", random.randbytes(count), changed[at : at + count] * 2))
    return bytes(changed)


@pytest.mark.parametrize("aim", AIMS)
def test_every_seed_of_an_aim_comes_to_a_good_end(aim: str) -> None:
    with registered(*KNOWN):
        for seed in AIMS[aim].seeds():
            AIMS[aim].run(seed)


@pytest.mark.parametrize("aim", AIMS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(any_.randoms(use_true_random=False), any_.integers(1, 5))
def test_no_input_near_a_seed_makes_more_than_an_error_of_ours(aim: str, random: Random, times: int) -> None:
    with registered(*KNOWN):
        raw = random.choice(AIMS[aim].seeds())
        for _ in range(times):
            raw = AIMS[aim].mutate(raw, LIMIT, random, lambda given, _limit: as_bytes(random, given))
        AIMS[aim].run(raw)


@given(any_.lists(any_.binary(max_size=40)))
def test_a_script_tells_the_messages_that_it_was_made_of(messages: list[bytes]) -> None:
    assert list(scripts.unpack(scripts.pack(messages))) == messages
