"""Quantities as Kubernetes writes them."""

from decimal import Decimal

import pytest

from checkpointheal_operator.core.quantities import amount, whole, written


@pytest.mark.parametrize(
    ("text", "is_worth"),
    [
        ("0", "0"),
        ("1", "1"),
        (4, "4"),
        (0.5, "0.5"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("1.", "1"),
        ("100m", "0.1"),
        ("1500u", "0.0015"),
        ("7n", "0.000000007"),
        ("2k", "2000"),
        ("3M", "3000000"),
        ("1G", "1000000000"),
        ("1T", "1000000000000"),
        ("1P", "1000000000000000"),
        ("1E", "1000000000000000000"),
        ("1Ki", "1024"),
        ("1.5Gi", "1610612736"),
        ("1Ti", str(1 << 40)),
        ("1Pi", str(1 << 50)),
        ("1Ei", str(1 << 60)),
        ("12e6", "12000000"),
        ("12E6", "12000000"),
        ("1e-3", "0.001"),
    ],
)
def test_a_quantity_amounts_to(text: str | float, is_worth: str) -> None:
    assert amount(text) == Decimal(is_worth)


@pytest.mark.parametrize(
    "text", ["", " 1", "-1", "1 Gi", "2GB", "Gi", ".", "1e", "1e999", "0x10", "\u0661", "1Zi", "nan"]
)
def test_what_is_no_quantity_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity") as caught:
        amount(text)
    assert repr(text) in str(caught.value)


def test_a_part_of_a_byte_is_a_whole_one() -> None:
    assert [whole(text) for text in ("1", "1.1", "1500m", "0.1")] == [1, 2, 2, 1]


@pytest.mark.parametrize("number", [0, 1, 1000, 1 << 10, 1536 << 20, 3 << 30, (1 << 40) + 1, 5 << 60])
def test_what_is_written_amounts_to_the_same(number: int) -> None:
    assert whole(written(number)) == number


def test_the_largest_unit_is_written() -> None:
    assert [written(number) for number in (0, 1023, 1024, 1536 << 20, 2 << 30)] == ["0", "1023", "1Ki", "1536Mi", "2Gi"]
