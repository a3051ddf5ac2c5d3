"""A soak says that a program grew where it did, and only there: it holds more while it leads than while it follows."""

import random

import pytest

from soak_figures import Sample, has_grown, slope

TURN = 300.0
MORE = 3.0
"""MiB more while it leads."""


def an_hour(growth: float, noise: float, seed: int = 0) -> list[Sample]:
    """Turns of five minutes, a peak at the beginning of each; `growth` in MiB an hour."""
    dice, samples = random.Random(seed), []
    for at in range(0, 3600, 5):
        leads = int(at / TURN) % 2 == 0
        peak = 4.0 if at % TURN < 20 else 0.0
        held = 100 + MORE * leads + peak + growth * at / 3600 + dice.uniform(-noise, noise)
        samples.append(Sample(float(at), held, 150 if leads else 20, 2, leads))
    return samples


@pytest.mark.parametrize("growth", [-2.0, 0.0, 0.9, 5.0])
def test_an_even_growth_is_found_as_it_is(growth: float) -> None:
    found, half = slope(an_hour(growth, 0.0), "mebibytes")
    assert found == pytest.approx(growth)
    assert half == pytest.approx(0.0, abs=1e-6)


def test_what_a_leader_holds_more_is_no_growth() -> None:
    assert slope(an_hour(0.0, 0.0), "descriptors")[0] == pytest.approx(0.0)


@pytest.mark.parametrize("seed", range(20))
def test_growth_is_told_from_noise(seed: int) -> None:
    assert has_grown(an_hour(5.0, 0.5, seed))
    assert not has_grown(an_hour(0.5, 0.5, seed))


def test_the_interval_holds_the_growth_that_was() -> None:
    held = sum(abs((found := slope(an_hour(1.0, 2.0, seed), "mebibytes"))[0] - 1.0) <= found[1] for seed in range(200))
    assert held >= 180


def test_too_few_turns_are_refused() -> None:
    with pytest.raises(ValueError, match="3 turns after the warm-up are too few for a slope"):
        slope(an_hour(0.0, 0.0)[:180], "mebibytes")
