"""What does a Kubernetes quantity amount to?"""

import math
import re
from decimal import Decimal

LONGEST = 32
"""Characters. Anybody's pod brings some: a number without end would be reckoned with for as long."""
_WRITTEN = re.compile(
    r"(?P<number>\d+(?:\.\d*)?|\.\d+)(?:[eE](?P<power>[+-]?\d{1,2})|(?P<suffix>[numkMGTPE]|[KMGTPE]i)?)",
    re.ASCII,
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def amount(text: str | float) -> Decimal:
    """Bytes, cores or pieces. Raises ValueError that shows the text; a negative amount is none."""
    said = str(text)
    written = _WRITTEN.fullmatch(said) if len(said) <= LONGEST else None
    if written is None:
        raise ValueError(f"{said[:LONGEST]!r} is not a quantity, as in 512Mi or 0.5")
    number, suffix = Decimal(written["number"]), written["suffix"] or ""
    if suffix in _BINARY:
        return number * Decimal(1024 ** _BINARY[suffix])
    return number.scaleb(int(written["power"]) if written["power"] else _DECIMAL[suffix])


def whole(text: str | float) -> int:
    """Bytes, rounded up. Raises ValueError."""
    return math.ceil(amount(text))


def written(number: int) -> str:
    """Bytes as people write them, in the largest binary unit that leaves no fraction."""
    unit, power = next(((u, p) for u, p in reversed(_BINARY.items()) if number and number % 1024**p == 0), ("", 0))
    return f"{number // 1024**power}{unit}"
