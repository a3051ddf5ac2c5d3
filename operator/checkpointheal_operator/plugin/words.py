"""How do times, sizes and lists read?

Pure: numbers in, words out. Must not know what they are about.
"""

from collections.abc import Sequence

MINUTE, HOUR, DAY = 60, 3600, 86400
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
STEP = 1024


def age(seconds: float) -> str:
    """Two units at most, as kubectl tells ages."""
    whole = max(0, int(seconds))
    if whole < 2 * MINUTE:
        return f"{whole}s"
    if whole < HOUR:
        return f"{whole // MINUTE}m{whole % MINUTE}s"
    if whole < DAY:
        return f"{whole // HOUR}h{whole % HOUR // MINUTE}m"
    return f"{whole // DAY}d{whole % DAY // HOUR}h"


def seconds(length: float) -> str:
    """A length of time that matters to a tenth."""
    return f"{length:.1f} s" if length < MINUTE else age(length)


def size(count: int) -> str:
    """Bytes, in the largest unit of which there is one."""
    amount, unit = float(count), 0
    while amount >= STEP and unit < len(UNITS) - 1:
        amount, unit = amount / STEP, unit + 1
    return f"{count} B" if unit == 0 else f"{amount:.1f} {UNITS[unit]}"


def counted(number: int, one: str, many: str = "") -> str:
    """The number with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else "".join(words)
