"""Which of the numbers that agents have seen can be true?

Attempts and epochs grow over whatever any agent has seen, for records may be lost. So one that says the highest number
there is would leave no higher one for its whole job: what nobody can have counted up to is not believed.
"""

from collections.abc import Iterable

COUNTED = 1 << 40
"""At one a second, after 34,000 years."""


def believed(numbers: Iterable[int]) -> Iterable[int]:
    """Those that can be true."""
    return (each for each in numbers if each < COUNTED)
