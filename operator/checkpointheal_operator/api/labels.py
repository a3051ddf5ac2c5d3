"""What can be the name of a label, and what its value?

As Kubernetes has it: no pod bears another one, and no query may ask for one. Must not know who names them.
"""

import re
from collections.abc import Iterable

_PART = "([a-z0-9][-a-z0-9]*)?[a-z0-9]"
_WORD = "([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]"
NAME = f"^(({_PART}[.])*{_PART}/)?{_WORD}$"
VALUE = f"^({_WORD})?$"
_HOW = "63 letters, digits, '-', '_' and '.' at most, with a letter or a digit at both ends"


def no_label(name: str, values: Iterable[str]) -> str:
    """Which of these can be no label's, and what can; empty where all can."""
    if not re.fullmatch(NAME, name):
        return f"{name!r} is no name of a label: {_HOW}, after a domain and '/' if need be"
    wrong = next((each for each in values if not re.fullmatch(VALUE, each)), None)
    return "" if wrong is None else f"{wrong!r} is no value of a label: {_HOW}"
